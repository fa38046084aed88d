package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/config"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Whatever strangers send to whichever port is answered clearly or dropped, costs little memory, and disturbs nobody.
func TestGarbage(t *testing.T) {
	const maxValue = 1 << 20
	c := newCluster(t, testcluster.Options{RealGossip: true, Configure: func(_ int, cfg *config.Config) {
		cfg.MaxValueBytes = maxValue
	}})
	for _, test := range []struct {
		name  string
		alloc uint64 // bytes that all five nodes and the test itself may allocate meanwhile
		run   func(c *cluster)
	}{
		{"noise on every port", 256 << 20, noiseOnEveryPort},
		{"frames that claim a gigabyte", 64 << 20, hugeClaims},
		{"bad requests", 64 << 20, badRequests},
		{"values over the limit", 256 << 20, func(c *cluster) { largeValues(c, maxValue) }},
		{"contexts", 128 << 20, badContexts},
		{"request ids", 64 << 20, badRequestIDs},
		{"services of each port", 64 << 20, servicesOfPorts},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.in(t)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			test.run(c)
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > test.alloc {
				t.Errorf("allocated %d MiB, at most %d are expected", grown>>20, test.alloc>>20)
			}
			c.stillServes()
		})
	}
}

// stillServes checks that no node has suffered.
func (c *cluster) stillServes() {
	c.t.Helper()
	c.WaitReady()
	for i := range c.Size() {
		if err := c.Node(i).Err(); err != nil {
			c.t.Fatalf("%s stopped: %v", c.Name(i), err)
		}
		k := key(fmt.Sprintf("after-%s-%d", time.Now().Format(time.RFC3339Nano), i), "")
		c.put(i, &pb.PutRequest{Key: k, Value: []byte("fine"), Options: &pb.WriteOptions{W: all}})
		c.want((i+1)%c.Size(), "", k, "fine")
	}
}

func noiseOnEveryPort(c *cluster) {
	rng := mathrand.NewChaCha8([32]byte{1})
	silent := make([]net.Conn, 0, 4)
	for _, addr := range []string{c.ClientAddr(1), c.PeerAddr(1), c.HTTPAddr(1), c.GossipAddr(1)} {
		for round := range 40 {
			noise := make([]byte, 1+round*100)
			_, _ = rng.Read(noise) // it always succeeds
			prefix := ""
			switch round % 4 {
			case 1:
				prefix = http2.ClientPreface
			case 2:
				prefix = "GET /metrics HTTP/1.1\r\n"
			case 3:
				prefix = "\xf4\x0dstarling:test" // the label of this cluster's gossip
			}
			sendTCP(c.t, addr, append([]byte(prefix), noise...))
		}
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			c.t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	udp, err := net.Dial("udp", c.GossipAddr(1))
	if err != nil {
		c.t.Fatal(err)
	}
	for round := range 400 {
		noise := make([]byte, 1+round*3)
		_, _ = rng.Read(noise)
		if round%2 == 0 {
			noise = append([]byte("\xf4\x0dstarling:test"), noise...)
		}
		if _, err := udp.Write(noise); err != nil {
			c.t.Fatal(err)
		}
	}
	_ = udp.Close()
	c.Eventually("the noise on the gossip port is in the log", func() bool {
		return strings.Contains(c.Log(1), "refused what is no gossip")
	})
	c.stillServes() // while the silent ones hold their connections
	for _, conn := range silent {
		_ = conn.Close()
	}
}

// sendTCP sends noise and reads whatever comes back until the other side has had enough.
func sendTCP(t *testing.T, addr string, noise []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
	_, _ = conn.Write(noise) // a refusal may come before all is sent
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, 1<<20))
}

func hugeClaims(c *cluster) {
	for _, at := range []struct{ addr, method string }{
		{c.ClientAddr(2), "/starling.v1.KV/Put"},
		{c.PeerAddr(2), "/starling.v1.Replica/Requests"},
		{c.PeerAddr(2), "/starling.v1.Replica/Bulk"},
	} {
		for range 5 {
			if code := claim(c.t, at.addr, at.method, 1<<30); code != codes.ResourceExhausted {
				c.t.Errorf("%s: a message of 1 GiB is answered with %v", at.method, code)
			}
		}
	}
}

// claim calls a method by hand with a message that says it has so many bytes, and returns the code of the answer.
func claim(t *testing.T, addr, method string, size uint32) codes.Code {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(callTimeout))
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var headers bytes.Buffer
	encoder := hpack.NewEncoder(&headers)
	for _, kv := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "test"},
		{"content-type", "application/grpc+proto"}, {"te", "trailers"},
	} {
		if err := encoder.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = io.WriteString(conn, http2.ClientPreface)
	for _, step := range []func() error{
		func() error { return err },
		func() error { return framer.WriteSettings() },
		func() error {
			return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers.Bytes(), EndHeaders: true})
		},
		func() error { return framer.WriteData(1, false, binary.BigEndian.AppendUint32([]byte{0}, size)) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("%s: no answer to a claim of %d bytes: %v", method, size, err)
		}
		if f, ok := frame.(*http2.MetaHeadersFrame); ok && f.StreamEnded() {
			for _, field := range f.Fields {
				var code codes.Code
				if field.Name == "grpc-status" && code.UnmarshalJSON([]byte(field.Value)) == nil {
					return code
				}
			}
			t.Fatalf("%s: an answer without a status", method)
		}
	}
}

func badRequests(c *cluster) {
	good := key("good", "")
	long := strings.Repeat("k", 64<<10+1)
	for _, bad := range []struct {
		name   string
		bucket string
		key    *pb.ItemKey
		level  *pb.Consistency
		code   codes.Code
		reason pb.Reason
	}{
		{"no key", "", nil, nil, codes.InvalidArgument, pb.Reason_REASON_INVALID_ARGUMENT},
		{"an empty partition key", "", key("", "s"), nil, codes.InvalidArgument, pb.Reason_REASON_INVALID_ARGUMENT},
		{"a long partition key", "", key(long, ""), nil, codes.InvalidArgument, pb.Reason_REASON_INVALID_ARGUMENT},
		{"a long sort key", "", key("p", long), nil, codes.InvalidArgument, pb.Reason_REASON_INVALID_ARGUMENT},
		{"an unknown bucket", "nowhere", good, nil, codes.NotFound, pb.Reason_REASON_UNKNOWN_BUCKET},
		{"a bucket with a long name", strings.Repeat("b", 1<<20), good, nil, codes.NotFound, pb.Reason_REASON_UNKNOWN_BUCKET},
		{"level 9 of 3", "", good, replicas(9), codes.InvalidArgument, pb.Reason_REASON_INVALID_CONSISTENCY},
		{"level 4 of 3", "", good, replicas(4), codes.InvalidArgument, pb.Reason_REASON_INVALID_CONSISTENCY},
		{"level 0", "", good, replicas(0), codes.InvalidArgument, pb.Reason_REASON_INVALID_CONSISTENCY},
		{"level 4294967295", "", good, replicas(1<<32 - 1), codes.InvalidArgument, pb.Reason_REASON_INVALID_CONSISTENCY},
		{"a level that does not exist", "", good, level(99), codes.InvalidArgument, pb.Reason_REASON_INVALID_CONSISTENCY},
	} {
		for i, call := range []func() error{
			func() error {
				_, err := c.tryPut(0, &pb.PutRequest{Bucket: bad.bucket, Key: bad.key, Value: []byte("x"), Options: &pb.WriteOptions{W: bad.level}})
				return err
			},
			func() error {
				_, err := c.tryGet(0, &pb.GetRequest{Bucket: bad.bucket, Key: bad.key, Options: &pb.ReadOptions{R: bad.level}})
				return err
			},
			func() error {
				ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
				defer cancel()
				_, err := c.KV(0).Delete(ctx, &pb.DeleteRequest{Bucket: bad.bucket, Key: bad.key, Options: &pb.WriteOptions{W: bad.level}})
				return err
			},
		} {
			what := fmt.Sprintf("%s: call %d", bad.name, i)
			err := call()
			wantReason(c.t, what, err, bad.reason)
			if status.Code(err) != bad.code {
				c.t.Errorf("%s: code %v, want %v", what, status.Code(err), bad.code)
			}
			if len(err.Error()) > 1000 {
				c.t.Errorf("%s: the message has %d bytes", what, len(err.Error()))
			}
		}
	}
	edge := key(long[1:], long[1:])
	c.put(1, &pb.PutRequest{Key: edge, Value: []byte("the longest keys")})
	c.want(2, "", edge, "the longest keys")
}

func largeValues(c *cluster, limit int) {
	k := key("large", "")
	value := bytes.Repeat([]byte("v"), limit+1)
	_, err := c.tryPut(0, &pb.PutRequest{Key: k, Value: value})
	wantReason(c.t, "a value over the limit", err, pb.Reason_REASON_VALUE_TOO_LARGE)
	c.put(0, &pb.PutRequest{Key: k, Value: value[1:], Options: &pb.WriteOptions{W: all}})
	c.want(1, "", k, string(value[1:]))
}

// sealer seals contexts as the nodes do.
func (c *cluster) sealer() causal.Sealer {
	c.t.Helper()
	st, err := c.Status(0)
	if err != nil {
		c.t.Fatal(err)
	}
	return causal.NewSealer([16]byte(st.GetClusterId()))
}

func badContexts(c *cluster) {
	k, other := key("context", "bad"), key("context", "other")
	token := c.put(0, &pb.PutRequest{Key: k, Value: []byte("1")}).GetContext()
	foreign := c.put(0, &pb.PutRequest{Key: other, Value: []byte("1")}).GetContext()
	forged := bytes.Clone(token)
	forged[len(forged)/2] ^= 1
	bucket := c.bucket(0, "default").GetId()
	item := causal.ItemKey{Bucket: bucket, Partition: k.GetPartitionKey(), Sort: k.GetSortKey()}
	ahead := causal.NewHLC(time.Now().Add(time.Hour).UnixMilli(), 0)
	future := causal.NewPast([]causal.Dot{{Actor: 1, HLC: ahead}}, nil)
	for _, bad := range []struct {
		name  string
		token []byte
	}{
		{"noise", randomBytes(40)},
		{"one byte", []byte{1}},
		{"much noise", randomBytes(2 << 20)},
		{"a changed bit", forged},
		{"a cut token", token[:len(token)-1]},
		{"of another item", foreign},
		{"of another cluster", causal.NewSealer([16]byte{1}).Seal(item, future)},
		{"from the future", c.sealer().Seal(item, future)},
	} {
		_, err := c.tryPut(1, &pb.PutRequest{Key: k, Value: []byte("2"), Context: bad.token})
		wantReason(c.t, "a put with a context: "+bad.name, err, pb.Reason_REASON_INVALID_CONTEXT)
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		_, err = c.KV(1).Delete(ctx, &pb.DeleteRequest{Key: k, Context: bad.token})
		cancel()
		wantReason(c.t, "a delete with a context: "+bad.name, err, pb.Reason_REASON_INVALID_CONTEXT)
	}
	c.want(2, "", k, "1")
	c.clocksUnharmed()
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}

// clocksUnharmed checks that what the nodes mint is of now.
func (c *cluster) clocksUnharmed() {
	c.t.Helper()
	for i := range c.Size() {
		if c.Node(i) == nil {
			continue
		}
		k := key(fmt.Sprintf("clock-%s-%d", c.t.Name(), i), "")
		dot := causal.HLC(c.put(i, &pb.PutRequest{Key: k, Value: []byte("now")}).GetDot().GetHlc())
		if ahead := time.Until(dot.Time()); ahead > time.Second {
			c.t.Errorf("a write through %s is dated %v ahead", c.Name(i), ahead)
		}
	}
}

func badRequestIDs(c *cluster) {
	k := key("request ids", "")
	for _, bad := range []struct {
		name   string
		age    time.Duration
		reason pb.Reason
	}{
		{"from the future", -time.Hour, pb.Reason_REASON_CLOCK_OFFSET},
		{"a little from the future", -30 * time.Second, pb.Reason_REASON_CLOCK_OFFSET},
		{"too old", causal.RetryWindow + 2*time.Second, pb.Reason_REASON_REQUEST_TOO_OLD},
		{"of 1970", time.Duration(time.Now().UnixNano()), pb.Reason_REASON_REQUEST_TOO_OLD},
	} {
		for at := range c.Size() {
			id, err := causal.NewRequestID(time.Now().Add(-bad.age).UnixMilli(), rand.Reader)
			if err != nil {
				c.t.Fatal(err)
			}
			_, err = c.tryPut(at, &pb.PutRequest{Key: k, Value: []byte("x"), RequestId: id[:]})
			wantReason(c.t, "a request id "+bad.name, err, bad.reason)
			if status.Code(err) != codes.FailedPrecondition {
				c.t.Errorf("a request id %s: code %v", bad.name, status.Code(err))
			}
		}
	}
	for _, id := range [][]byte{{1}, make([]byte, 16), randomBytes(17), bytes.Repeat([]byte{0xff}, 16)} {
		_, err := c.tryPut(0, &pb.PutRequest{Key: k, Value: []byte("x"), RequestId: id})
		wantReason(c.t, fmt.Sprintf("request id %x", id), err, pb.Reason_REASON_INVALID_ARGUMENT)
	}
	c.want(3, "", k)
	c.clocksUnharmed()
}

// Each port serves what it should: reflection and health for clients, nodes' business on the peer port alone.
func servicesOfPorts(c *cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for _, service := range []string{"", "starling.v1.KV", "starling.v1.Cluster"} {
		got, err := healthpb.NewHealthClient(c.Conn(0)).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			c.t.Errorf("health of %q: %v, %v", service, got, err)
		}
	}
	served := reflected(ctx, c.t, c.Conn(0))
	for _, service := range []string{"starling.v1.KV", "starling.v1.Cluster", "grpc.health.v1.Health"} {
		if !slices.Contains(served, service) {
			c.t.Errorf("reflection on the client port does not list %s: %v", service, served)
		}
	}
	if slices.Contains(served, "starling.v1.Replica") {
		c.t.Error("reflection lists Replica on the client port")
	}
	stream, err := pb.NewReplicaClient(c.Conn(0)).Requests(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		c.t.Errorf("Replica on the client port: %v", err)
	}
	peer, err := grpc.NewClient("passthrough:///"+c.PeerAddr(0), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer peer.Close()
	if _, err := pb.NewKVClient(peer).Get(ctx, &pb.GetRequest{Key: key("k", "")}); status.Code(err) != codes.Unimplemented {
		c.t.Errorf("KV on the peer port: %v", err)
	}
	wrongCluster(ctx, c, peer)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/../etc/passwd": 404, "/debug/pprof/": 404} {
		resp, err := http.Get("http://" + c.HTTPAddr(0) + path)
		if err != nil {
			c.t.Error(err)
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			c.t.Errorf("GET %s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func reflected(ctx context.Context, t *testing.T, conn *grpc.ClientConn) (services []string) {
	t.Helper()
	stream, err := reflectpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_ListServices{}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range resp.GetListServicesResponse().GetService() {
		services = append(services, s.GetName())
	}
	_ = stream.CloseSend()
	return services
}

// wrongCluster speaks to the peer port as a node of another cluster would.
func wrongCluster(ctx context.Context, c *cluster, peer *grpc.ClientConn) {
	c.t.Helper()
	id := c.ID(0)
	for name, hello := range map[string]*pb.Hello{
		"another name": {Protocol: 1, Cluster: "other", NodeId: randomBytes(16), ToNodeId: id[:]},
		"another id":   {Protocol: 1, Cluster: "test", ClusterId: randomBytes(16), NodeId: randomBytes(16), ToNodeId: id[:]},
	} {
		stream, err := pb.NewReplicaClient(peer).Requests(ctx)
		if err == nil {
			err = stream.Send(&pb.Frame{Hello: hello})
		}
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.PermissionDenied || reasonOf(err) != "WRONG_CLUSTER" {
			c.t.Errorf("a Hello with %s: %v", name, err)
		}
	}
}
