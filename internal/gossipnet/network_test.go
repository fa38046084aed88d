package gossipnet

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

const a, b = "10.0.0.1:7402", "10.0.0.2:7402"

// pair returns a network with two nodes.
func pair(t *testing.T, o Options) (*Network, *Transport, *Transport) {
	t.Helper()
	n := New(o)
	ta, err := n.Listen(a)
	if err != nil {
		t.Fatal(err)
	}
	tb, err := n.Listen(b)
	if err != nil {
		t.Fatal(err)
	}
	return n, ta, tb
}

func TestPacketsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, from, to := pair(t, Options{MinLatency: 10 * time.Millisecond, MaxLatency: 20 * time.Millisecond})
		start := time.Now()
		buf := []byte("hello")
		if _, err := from.WriteTo(buf, b); err != nil {
			t.Fatal(err)
		}
		buf[0] = 'x' // the sender may use its buffer again
		p := <-to.PacketCh()
		if took := time.Since(start); string(p.Buf) != "hello" || p.From.String() != a || took < 10*time.Millisecond || took > 20*time.Millisecond {
			t.Errorf("%q from %s after %s", p.Buf, p.From, took)
		}
	})
}

func TestLoss(t *testing.T) {
	n, from, to := pair(t, Options{Rand: rand.New(rand.NewPCG(1, 1)), Loss: 0.3})
	for range 1000 {
		if _, err := from.WriteTo([]byte("x"), b); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(to.packets); got < 620 || got > 780 {
		t.Errorf("%d of 1000 arrived with 30 %% loss", got)
	}
	n.SetLoss(1)
	before := len(to.packets)
	_, _ = from.WriteTo([]byte("x"), b)
	if len(to.packets) != before {
		t.Error("a packet came through")
	}
}

func TestCutsHaveADirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ta, tb := pair(t, Options{})
		near, err := ta.DialTimeout(b, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		n.Cut("10.0.0.1", "10.0.0.2")
		if _, err := near.Read(make([]byte, 1)); err == nil {
			t.Error("the stream did not break")
		}
		_, _ = ta.WriteTo([]byte("x"), b)
		_, _ = tb.WriteTo([]byte("x"), a)
		if len(tb.packets) != 0 || len(ta.packets) != 1 {
			t.Errorf("%d came with the cut, %d against it", len(tb.packets), len(ta.packets))
		}
		start := time.Now()
		_, err = tb.DialTimeout(a, time.Second)
		var op *net.OpError
		if !errors.As(err, &op) || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("dialling over a cut: %v after %s", err, time.Since(start))
		}
		n.Heal()
		if _, err := tb.DialTimeout(a, time.Second); err != nil {
			t.Errorf("healed: %v", err)
		}
	})
}

func TestKillAndReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, ta, tb := pair(t, Options{})
		near, err := ta.DialTimeout(b, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		n.Kill(b)
		if _, err := near.Write([]byte("x")); err == nil {
			t.Error("wrote to the dead")
		}
		if _, err := ta.DialTimeout(b, time.Second); !errors.Is(err, errRefused) {
			t.Errorf("dialling the dead: %v", err)
		}
		if _, err := tb.WriteTo([]byte("x"), a); err == nil {
			t.Error("the dead spoke")
		}
		if err := tb.Shutdown(); err != nil {
			t.Fatal(err)
		}
		again, err := n.Listen(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := tb.Shutdown(); err != nil { // late, of the former life
			t.Fatal(err)
		}
		if _, err := ta.WriteTo([]byte("x"), b); err != nil || len(again.packets) != 1 {
			t.Errorf("%d packets, %v", len(again.packets), err)
		}
		if got := n.Addrs(); len(got) != 2 {
			t.Errorf("listening: %v", got)
		}
	})
}

func TestQueuesAreBounded(t *testing.T) {
	_, from, to := pair(t, Options{})
	for range 2 * packetQueue {
		_, _ = from.WriteTo([]byte("x"), b)
	}
	if len(to.packets) != packetQueue {
		t.Errorf("%d packets wait", len(to.packets))
	}
	for i := range streamQueue + 1 {
		if _, err := from.DialTimeout(b, time.Second); (err != nil) != (i == streamQueue) {
			t.Errorf("stream %d: %v", i, err)
		}
	}
	if len(from.network.conns) != 2*streamQueue {
		t.Errorf("%d ends are kept", len(from.network.conns))
	}
	if err := to.Shutdown(); err != nil {
		t.Fatal(err)
	}
}

func TestAddresses(t *testing.T) {
	n, ta, _ := pair(t, Options{})
	for _, addr := range []string{a, "localhost:1", "10.0.0.1"} {
		if _, err := n.Listen(addr); err == nil {
			t.Errorf("listened on %s", addr)
		}
	}
	if _, err := ta.WriteTo(nil, "nowhere"); err == nil {
		t.Error("wrote to nowhere")
	}
	if _, err := ta.DialTimeout("nowhere", time.Second); err == nil {
		t.Error("dialled nowhere")
	}
	if ip, port, err := ta.FinalAdvertiseAddr("", 0); err != nil || ip.String() != "10.0.0.1" || port != 7402 {
		t.Errorf("%s %d %v", ip, port, err)
	}
}
