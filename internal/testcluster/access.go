package testcluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/starling-db/starling/client"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Patience is how long the cluster is waited for. It is generous: the machine may be busy.
const Patience = time.Minute

// Client opens a client that is told the addresses of all nodes. It is closed with the cluster.
func (c *Cluster) Client(opts ...client.Option) *client.Client {
	c.t.Helper()
	var addrs []string
	for i := range c.members {
		addrs = append(addrs, c.ClientAddr(i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cl, err := client.Open(ctx, addrs, opts...)
	if err != nil {
		c.t.Fatalf("open a client: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = append(c.clients, cl)
	return cl
}

// Conn is a plain gRPC connection to a node's client port, for what a client would not send. It lives as long as the
// cluster, over restarts of the node.
func (c *Cluster) Conn(i int) *grpc.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.conns[i]; conn != nil {
		return conn
	}
	backoff := grpc.ConnectParams{MinConnectTimeout: 2 * time.Second}
	backoff.Backoff.BaseDelay, backoff.Backoff.MaxDelay, backoff.Backoff.Multiplier = 20*time.Millisecond, 200*time.Millisecond, 1.6
	conn, err := grpc.NewClient("passthrough:///"+c.ClientAddr(i),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(backoff))
	if err != nil {
		panic(fmt.Sprintf("a client of %s: %v", c.ClientAddr(i), err)) // of options that are fixed above
	}
	c.conns[i] = conn
	return conn
}

// KV is the KV service of one node, which takes the requests wherever the item lives.
func (c *Cluster) KV(i int) pb.KVClient { return pb.NewKVClient(c.Conn(i)) }

// Admin is the Cluster service of one node.
func (c *Cluster) Admin(i int) pb.ClusterClient { return pb.NewClusterClient(c.Conn(i)) }

// Owners are the numbers of the nodes that own an item of the default bucket or another, in the order of the
// preference list; others are the fallbacks behind them.
func (c *Cluster) Owners(bucket string, partition []byte) (owners, others []int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for i := range c.members {
		if c.Node(i) == nil {
			continue
		}
		at, err := c.Admin(i).Locate(ctx, &pb.LocateRequest{Bucket: bucket, PartitionKey: partition})
		if err != nil {
			c.t.Fatalf("locate %q: %v", partition, err)
		}
		for _, p := range at.GetPreference() {
			if p.GetOwner() {
				owners = append(owners, c.Index(p.GetName()))
			} else {
				others = append(others, c.Index(p.GetName()))
			}
		}
		return owners, others
	}
	c.t.Fatal("no node runs")
	return nil, nil
}

// Eventually waits until cond holds, and fails the test if it does not in time.
func (c *Cluster) Eventually(what string, cond func() bool) {
	c.t.Helper()
	c.Within(Patience, what, cond)
}

// Within is Eventually with a patience of its own. It returns how long it took.
func (c *Cluster) Within(limit time.Duration, what string, cond func() bool) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > limit {
			c.t.Fatalf("after %v still not: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

// WaitReady waits until every node that runs serves, and all of them see each other so.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	why := ""
	deadline := time.Now().Add(Patience)
	for !c.settled(&why) {
		if time.Now().After(deadline) {
			c.t.Fatalf("the cluster is not ready: %s", why)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// settled says whether every node that runs sees every other that runs alive and ready, and those that are down dead.
func (c *Cluster) settled(why *string) bool {
	running := map[string]bool{}
	for i := range c.members {
		if c.Node(i) != nil {
			running[c.Name(i)] = true
		}
	}
	for i := range c.members {
		if !running[c.Name(i)] {
			continue
		}
		st, err := c.Status(i)
		if err != nil {
			*why = err.Error()
			return false
		}
		for name := range running {
			at := slices.IndexFunc(st.GetNodes(), func(n *pb.NodeStatus) bool {
				return n.GetName() == name && n.GetLiveness() == pb.Liveness_LIVENESS_ALIVE && n.GetReady()
			})
			if at < 0 {
				*why = fmt.Sprintf("%s does not see %s ready: %v", c.Name(i), name, st)
				return false
			}
		}
	}
	return true
}

// Status is what one node says of the cluster, by itself.
func (c *Cluster) Status(i int) (*pb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.Admin(i).Status(ctx, &pb.StatusRequest{Local: true})
}

// Liveness is what one node thinks of another.
func (c *Cluster) Liveness(of, by int) pb.Liveness {
	st, err := c.Status(by)
	if err != nil {
		return pb.Liveness_LIVENESS_UNSPECIFIED
	}
	for _, n := range st.GetNodes() {
		if n.GetName() == c.Name(of) {
			return n.GetLiveness()
		}
	}
	return pb.Liveness_LIVENESS_UNSPECIFIED
}
