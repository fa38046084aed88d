package membership

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketNode starts a node on real sockets of the loopback.
func socketNode(t *testing.T, i int, cluster string, join ...string) *Membership {
	t.Helper()
	id := nodeID(i)
	m, err := New(t.Context(), Options{
		ID:      id,
		Cluster: cluster,
		Bind:    "localhost:0",
		Join:    join,
		Meta: func() *pb.GossipMeta {
			return &pb.GossipMeta{Attributes: &pb.NodeAttributes{Id: id[:], Name: "n"}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// soon waits in real time; it is for what goes through the kernel.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestRealSockets(t *testing.T) {
	a := socketNode(t, 1, "one")
	b := socketNode(t, 2, "one", a.Addr())
	foreign := socketNode(t, 3, "two", a.Addr())
	soon(t, "two nodes did not meet", func() bool { return len(a.Nodes()) == 1 && len(b.Nodes()) == 1 })
	soon(t, "another cluster's gossip was not counted", func() bool { return a.Stats().ForeignCluster > 0 })
	if len(foreign.Nodes()) != 0 {
		t.Errorf("clusters met: %v", foreign.Nodes())
	}
}

func TestRandomBytesAreHarmless(t *testing.T) {
	m := socketNode(t, 1, "one")
	rnd := rand.New(rand.NewPCG(5, 5))
	for range 50 {
		b := make([]byte, 1+rnd.IntN(1200))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		for _, network := range []string{"udp", "tcp"} {
			c, err := net.Dial(network, m.Addr())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write(b)
			_ = c.Close()
		}
	}
	soon(t, "garbage was not counted", func() bool { return m.Stats().Garbage > 50 })
	peer := socketNode(t, 2, "one", m.Addr())
	soon(t, "the node does not gossip any more", func() bool { return len(peer.Nodes()) == 1 })
}

// Behind the right label memberlist itself must cope: lengths that lie, truncated messages.
func TestGarbageBehindTheLabelIsHarmless(t *testing.T) {
	m := socketNode(t, 1, "one")
	label := clusterLabel("one")
	head := append([]byte{244, byte(len(label))}, label...)
	rnd := rand.New(rand.NewPCG(6, 6))
	for i := range 200 {
		b := append([]byte{}, head...)
		b = append(b, byte(i%14))
		for range rnd.IntN(100) {
			b = append(b, byte(rnd.Uint32()))
		}
		network := "udp"
		if i%4 == 0 {
			network = "tcp"
		}
		c, err := net.Dial(network, m.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(b)
		_ = c.Close()
	}
	peer := socketNode(t, 2, "one", m.Addr())
	soon(t, "the node does not gossip any more", func() bool { return len(peer.Nodes()) == 1 })
}

func TestSilentStreamsAreBounded(t *testing.T) {
	m := socketNode(t, 1, "one")
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range maxStreams + 20 {
		c, err := net.Dial("tcp", m.Addr())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	soon(t, "streams beyond the bound were not turned away", func() bool { return m.Stats().ExcessStreams >= 20 })
	last := open[len(open)-1]
	_ = last.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := last.Read(make([]byte, 1)); err != io.EOF && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the last stream: %v", err)
	}
}

func TestListenErrors(t *testing.T) {
	taken, addr, err := Listen(t.Context(), "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Shutdown() }()
	for _, bind := range []string{addr, "nowhere", "127.0.0.1:99999", "no.such.host.invalid:1"} {
		if _, _, err := Listen(t.Context(), bind, nil); err == nil {
			t.Errorf("listened on %s", bind)
		}
	}
}

func TestUnspecifiedAddressIsNotAdvertised(t *testing.T) {
	id := nodeID(1)
	_, err := New(t.Context(), Options{
		ID: id, Cluster: "c", Bind: ":0",
		Meta: func() *pb.GossipMeta { return &pb.GossipMeta{Attributes: &pb.NodeAttributes{Id: id[:]}} },
	})
	if err == nil || !strings.Contains(err.Error(), "advertise") {
		t.Errorf("got %v", err)
	}
}

func TestResolvePrefersIPv4(t *testing.T) {
	resolve := func(_ context.Context, host string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("fd00::1"), netip.MustParseAddr("10.1.2.3")}, nil
	}
	if ip, err := resolveOne(t.Context(), "n1", resolve); err != nil || ip.String() != "10.1.2.3" {
		t.Errorf("%v, %v", ip, err)
	}
}

func TestBridgeLowersLevels(t *testing.T) {
	var out strings.Builder
	l := bridge(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	l.Printf("[ERR] memberlist: Push/Pull with x failed")
	l.Printf("[WARN] memberlist: refuting")
	l.Printf("[DEBUG] memberlist: stream")
	for _, want := range []string{
		`level=WARN msg="gossip: Push/Pull with x failed"`, `level=INFO msg="gossip: refuting"`, `level=DEBUG msg="gossip: stream"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %s", out.String(), want)
		}
	}
}
