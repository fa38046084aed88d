// Package kvfake is a cluster of fake nodes for tests of what talks to a cluster: they serve the client
// port over real connections and share one store in memory, which keeps siblings, contexts and request
// ids as a cluster would. There is no replication: faults are what a test's Intercept makes of them.
package kvfake

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

const (
	// partitions of the fake ring.
	partitions = 64
	// replicas of every bucket.
	replicas = 3
)

// Intercept sees every request of a node before it is served; an error is the reply. It may block
// until ctx ends.
type Intercept func(ctx context.Context, method string, request any) error

// Cluster is some fake nodes with one store.
type Cluster struct {
	Nodes []*Node
	store *store
	epoch *ring.Epoch

	mu       sync.Mutex
	liveness map[string]pb.Liveness
	lags     map[string]*pb.NodeLag
	skew     time.Duration
}

// Node is one fake node.
type Node struct {
	Name string
	ID   ring.NodeID
	// Addr is "host:port".
	Addr string

	cluster *Cluster
	server  *grpc.Server

	mu        sync.Mutex
	intercept Intercept
	// after runs when a request has been served, before its reply is sent.
	after Intercept
	calls map[string]int
}

// Start starts a cluster of n nodes on loopback ports; it stops with the test. It has a bucket
// "default".
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{store: newStore(), liveness: make(map[string]pb.Liveness), lags: make(map[string]*pb.NodeLag)}
	members := make([]ring.Member, n)
	for i := range n {
		node := &Node{Name: "n" + strconv.Itoa(i+1), cluster: c, calls: make(map[string]int)}
		node.ID[0], node.ID[15] = byte(i+1), 1
		members[i] = ring.Member{ID: node.ID, Zone: "default", Weight: 1}
		c.Nodes = append(c.Nodes, node)
	}
	layout, err := ring.Plan(ring.PlanInput{
		Members: members, Partitions: partitions, Replicas: min(replicas, n), Version: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.epoch = ring.Genesis(layout)
	for _, node := range c.Nodes {
		node.start(t)
	}
	return c
}

func (n *Node) start(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.Addr = listener.Addr().String()
	n.server = grpc.NewServer(
		grpc.MaxRecvMsgSize(64<<20),
		grpc.UnaryInterceptor(n.unary),
		grpc.StreamInterceptor(n.stream),
	)
	pb.RegisterKVServer(n.server, &kvService{node: n})
	pb.RegisterClusterServer(n.server, &clusterService{node: n})
	var served sync.WaitGroup
	served.Go(func() {
		// A node that is stopped at once has nothing to serve.
		if err := n.server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		n.server.Stop()
		served.Wait()
	})
}

// Addrs are the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		addrs[i] = n.Addr
	}
	return addrs
}

// Owners are the nodes that own a partition key of a bucket, the first of them first.
func (c *Cluster) Owners(bucket string, partition []byte) []*Node {
	layout := c.epoch.Base
	p := layout.PartitionOf(ring.TokenOf(c.store.bucketID(bucket), partition))
	var owners []*Node
	for _, id := range layout.Owners(p, min(replicas, len(c.Nodes))) {
		owners = append(owners, c.Nodes[id[0]-1])
	}
	return owners
}

// SetLiveness makes all nodes say this of one of them; they say alive of the others.
func (c *Cluster) SetLiveness(node string, l pb.Liveness) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.liveness[node] = l
}

// SetLag makes all nodes say this of the lag of one of them; they say nothing of that of the others.
func (c *Cluster) SetLag(node string, lag *pb.NodeLag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lags[node] = lag
}

func (c *Cluster) lagOf(node string) *pb.NodeLag {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lags[node]
}

func (c *Cluster) livenessOf(node string) pb.Liveness {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.liveness[node]; ok {
		return l
	}
	return pb.Liveness_LIVENESS_ALIVE
}

// SetClock puts the clocks of all nodes ahead of the test's.
func (c *Cluster) SetClock(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew = ahead
}

// Advance moves the time by which writes are dated, and values expire, on by d. It is no wall clock: it begins at
// 2023-11-14T22:13:20Z and goes a millisecond a write.
func (c *Cluster) Advance(d time.Duration) { c.store.advance(d.Milliseconds()) }

func (c *Cluster) millis() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.skew).UnixMilli()
}

// Intercept lets f see the requests of all nodes before they are served; nil ends that.
func (c *Cluster) Intercept(f Intercept) {
	for _, n := range c.Nodes {
		n.Intercept(f)
	}
}

// Intercept lets f see the requests of the node before they are served; nil ends that.
func (n *Node) Intercept(f Intercept) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.intercept = f
}

// After lets f turn the replies of the node into errors once the request was carried out: lost
// replies. nil ends that.
func (n *Node) After(f Intercept) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.after = f
}

// Stop kills the node.
func (n *Node) Stop() { n.server.Stop() }

// Calls counts the requests of a method ("Put", "Get", ...) that the node has received.
func (n *Node) Calls(method string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[method]
}

func (n *Node) hooks(method string) (before, after Intercept) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls[method]++
	return n.intercept, n.after
}

func (n *Node) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, serve grpc.UnaryHandler) (any, error) {
	method := methodName(info.FullMethod)
	before, after := n.hooks(method)
	if before != nil {
		if err := before(ctx, method, req); err != nil {
			return nil, err
		}
	}
	reply, err := serve(ctx, req)
	if err == nil && after != nil {
		err = after(ctx, method, req)
	}
	return reply, err
}

func (n *Node) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, serve grpc.StreamHandler) error {
	method := methodName(info.FullMethod)
	if method == "Session" {
		return serve(srv, ss) // hooks see what it carries
	}
	before, _ := n.hooks(method)
	if before != nil {
		if err := before(ss.Context(), method, nil); err != nil {
			return err
		}
	}
	return serve(srv, ss)
}

func methodName(full string) string {
	for i := len(full) - 1; i >= 0; i-- {
		if full[i] == '/' {
			return full[i+1:]
		}
	}
	return full
}

// Fault is an error as servers make them. counts are required, received and live; none, or all three.
func Fault(code codes.Code, reason pb.Reason, message string, counts ...int) error {
	info := &errdetails.ErrorInfo{Domain: "starling", Reason: reason.String()[len("REASON_"):]}
	if len(counts) == 3 {
		info.Metadata = map[string]string{
			"required": strconv.Itoa(counts[0]), "received": strconv.Itoa(counts[1]), "live": strconv.Itoa(counts[2]),
		}
	}
	st, err := status.New(code, message).WithDetails(info)
	if err != nil {
		return err
	}
	return st.Err()
}
