package transport

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rawStream is a request stream with nothing of ours on the calling side; its Hello is exchanged.
func rawStream(t *testing.T, n *memNet, addr string) clientStream {
	t.Helper()
	st := rawUngreeted(t, n, addr)
	if err := st.Send(&pb.Frame{Hello: testIdentity(1).hello(NodeID{2}, time.Now())}); err != nil {
		t.Fatal(err)
	}
	if f, err := st.Recv(); err != nil || f.Hello == nil {
		t.Fatalf("no Hello came back: %v, %v", f, err)
	}
	return st
}

func rawUngreeted(t *testing.T, n *memNet, addr string) clientStream {
	t.Helper()
	o := options(n, testIdentity(1)).EnsureDefaults()
	conn, err := dial(&o, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	st, err := pb.NewReplicaClient(conn).Requests(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestStreamsOutOfOrder(t *testing.T) {
	hello := testIdentity(1).hello(NodeID{2}, time.Now())
	tests := map[string]func(clientStream) error{
		"no Hello":             func(st clientStream) error { return st.Send(&pb.Frame{Requests: []*pb.PeerRequest{ping()}}) },
		"an empty first frame": func(st clientStream) error { return st.Send(&pb.Frame{}) },
		"requests with a Hello": func(st clientStream) error {
			return st.Send(&pb.Frame{Hello: hello, Requests: []*pb.PeerRequest{ping()}})
		},
		"a Hello of a megabyte": func(st clientStream) error {
			return st.Send(&pb.Frame{Hello: &pb.Hello{Name: string(make([]byte, 1<<20))}})
		},
		"two Hellos": func(st clientStream) error {
			_ = st.Send(&pb.Frame{Hello: hello})
			return st.Send(&pb.Frame{Hello: hello})
		},
		"a reply from a caller": func(st clientStream) error {
			_ = st.Send(&pb.Frame{Hello: hello})
			return st.Send(&pb.Frame{Replies: []*pb.PeerReply{{}}})
		},
		"an empty second frame": func(st clientStream) error { _ = st.Send(&pb.Frame{Hello: hello}); return st.Send(&pb.Frame{}) },
		"5000 requests together": func(st clientStream) error {
			_ = st.Send(&pb.Frame{Hello: hello})
			return st.Send(&pb.Frame{Requests: make([]*pb.PeerRequest, 5000)})
		},
	}
	for name, send := range tests {
		t.Run(name, func(t *testing.T) {
			n, p, s := pair(t, echo, nil)
			st := rawUngreeted(t, n, "two")
			if err := send(st); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			for {
				f, err := st.Recv()
				if err == io.EOF || err == nil && f.Hello == nil {
					t.Fatalf("got %v, %v", f, err)
				}
				if err != nil {
					break
				}
			}
			if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
				t.Errorf("others are served no more: %v", err)
			}
			if st := s.Server.Stats(); st.Requests != 1 {
				t.Errorf("stats: %+v", st)
			}
		})
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	n, _, _ := pair(t, echo, nil)
	st := rawStream(t, n, "two")
	endless := ping()
	endless.Id, endless.TimeoutUs = 3, 1<<63
	mute := ping()
	mute.Id = 2
	if err := st.Send(&pb.Frame{Requests: []*pb.PeerRequest{{Id: 1, TimeoutUs: 1}, mute, endless}}); err != nil {
		t.Fatal(err)
	}
	got := map[uint64]string{}
	for len(got) < 3 {
		f, err := st.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range f.Replies {
			got[r.Id] = r.GetError().GetReason()
		}
	}
	if got[1] != "INVALID_ARGUMENT" || got[2] != "INVALID_ARGUMENT" || got[3] != "" {
		t.Errorf("answers: %v", got)
	}
}

func TestCallerThatSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _, s := pair(t, echo, nil)
		st := rawUngreeted(t, n, "two")
		begin := time.Now()
		if _, err := st.Recv(); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		if d := time.Since(begin); d > 5*time.Second || s.Server.Stats().Streams != 0 {
			t.Errorf("after %v: %+v", d, s.Server.Stats())
		}
	})
}

// A listener that takes connections and never answers, and one that answers with noise.
func TestPeerThatIsNoNode(t *testing.T) {
	for _, noise := range []string{"", "HTTP/1.1 400 Bad Request\r\n\r\n", "\x00\x00\xff\xff\xff\xff\xff\xff\xff"} {
		synctest.Test(t, func(t *testing.T) {
			n := newMemNet()
			lis := n.listen("two")
			go func() {
				for {
					c, err := lis.Accept()
					if err != nil {
						return
					}
					go func() {
						_, _ = io.WriteString(c, noise)
						_, _ = io.Copy(io.Discard, c)
						_ = c.Close()
					}()
				}
			}()
			p := NewPool(options(n, testIdentity(1)))
			begin := time.Now()
			if _, err := p.Call(t.Context(), peerTwo, ping()); err == nil {
				t.Error("noise answered")
			}
			if d := time.Since(begin); d > 4*time.Second {
				t.Errorf("took %v", d)
			}
			p.Close()
			n.kill("two")
		})
	}
}

func TestGarbageOnTheListener(t *testing.T) {
	n, p, s := pair(t, echo, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		c, err := n.dial(t.Context(), "two")
		if err != nil {
			t.Fatal(err)
		}
		if rng.IntN(2) == 0 {
			_, _ = io.WriteString(c, http2.ClientPreface)
		}
		b := make([]byte, rng.IntN(2000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Write(b)
		_ = c.Close()
	}
	if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
		t.Errorf("after garbage: %v", err)
	}
	if s.Server.Stats().Requests != 1 {
		t.Errorf("stats: %+v", s.Server.Stats())
	}
}

// A message whose length field says 1 GiB, and a true frame of many empty requests: both are refused, and neither costs
// memory beyond what was sent.
func TestLengthsAreCheckedBeforeAllocating(t *testing.T) {
	n, p, _ := pair(t, echo, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		claim(t, n, 1<<30)   // more than a frame may hold: refused
		claim(t, n, 100<<20) // allowed, but it never comes
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
		t.Errorf("twenty claims made the server allocate %d bytes", grown)
	}

	empty := make([]byte, 0, 4<<20)
	for len(empty) < cap(empty) {
		empty = append(empty, 0x1a, 0x00)
	}
	runtime.ReadMemStats(&before)
	in := incoming{limit: 128 << 20}
	if err := in.decode(empty); err == nil {
		t.Error("two million empty requests were taken")
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("two million empty requests allocated %d bytes", grown)
	}
	if _, err := p.Call(t.Context(), peerTwo, ping()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// claim opens a stream by hand and sends the header of a message of so many bytes, then waits until it is refused, or
// until the server has seen it.
func claim(t *testing.T, n *memNet, size uint32) {
	t.Helper()
	c, err := n.dial(t.Context(), "two")
	if err != nil {
		t.Fatal(err)
	}
	defer func(c net.Conn) { _ = c.Close() }(c)
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(c, c)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var headers headerBlock
	for _, kv := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", "/starling.v1.Replica/Requests"}, {":authority", "two"},
		{"content-type", "application/grpc+proto"}, {"te", "trailers"},
	} {
		headers.add(kv[0], kv[1])
	}
	if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers.b, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	prefix := binary.BigEndian.AppendUint32([]byte{0}, size)
	if err := fr.WriteData(1, false, prefix); err != nil {
		t.Fatal(err)
	}
	if err := fr.WritePing(false, [8]byte{1}); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("neither refused nor taken: %v", err)
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				return
			}
		case *http2.PingFrame:
			if f.Data == [8]byte{1} && size < 128<<20 {
				return
			}
		}
	}
}

type headerBlock struct{ b []byte }

func (h *headerBlock) Write(p []byte) (int, error) { h.b = append(h.b, p...); return len(p), nil }

func (h *headerBlock) add(name, value string) {
	_ = hpack.NewEncoder(h).WriteField(hpack.HeaderField{Name: name, Value: value})
}
