package seam

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// soon is how long something that is held back is waited for.
const soon = 30 * time.Millisecond

// pair connects through seams to a listener of its own.
func pair(t *testing.T, s *Seams) (near, far net.Conn, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addr = l.Addr().String()
	near, err = s.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far, addr
}

// hears says whether data arrives at a connection soon.
func hears(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

func TestOneDirectionIsCut(t *testing.T) {
	for _, c := range []struct {
		name    string
		cut     func(addr string) Settings
		out, in bool
	}{
		{"none", func(string) Settings { return Settings{} }, true, true},
		{"out", func(a string) Settings { return Settings{Out: []string{a}} }, false, true},
		{"in", func(a string) Settings { return Settings{In: []string{a}} }, true, false},
		{"both", func(a string) Settings { return Settings{Out: []string{a}, In: []string{a}} }, false, false},
		{"another's", func(string) Settings { return Settings{Out: []string{"b"}, In: []string{"b"}} }, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New()
			near, far, addr := pair(t, s)
			s.Set(c.cut(addr))
			wrote := make(chan error, 1)
			go func() { _, err := near.Write([]byte("a")); wrote <- err }()
			if _, err := far.Write([]byte("b")); err != nil {
				t.Fatal(err)
			}
			if got := hears(t, far); got != c.out {
				t.Errorf("what is sent arrives: %t", got)
			}
			if got := hears(t, near); got != c.in {
				t.Errorf("what the other sends arrives: %t", got)
			}
			s.Set(Settings{})
			if err := <-wrote; err != nil {
				t.Error(err)
			}
			if !c.out && !hears(t, far) || !c.in && !hears(t, near) {
				t.Error("what was held back is lost")
			}
		})
	}
}

// TestReadUnderWayIsHeldBack cuts while somebody reads already.
func TestReadUnderWayIsHeldBack(t *testing.T) {
	s := New()
	near, far, addr := pair(t, s)
	heard := make(chan string, 1)
	go func() {
		b := make([]byte, 10)
		n, _ := near.Read(b)
		heard <- string(b[:n])
	}()
	time.Sleep(soon)
	s.Set(Settings{In: []string{addr}})
	if _, err := far.Write([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-heard:
		t.Errorf("heard %q through a cut", text)
	case <-time.After(soon):
	}
	s.Set(Settings{})
	if text := <-heard; text != "kept" {
		t.Errorf("heard %q after the cut", text)
	}
}

func TestWaitingEnds(t *testing.T) {
	s := New()
	near, _, addr := pair(t, s)
	s.Set(Settings{Out: []string{addr}})
	if err := near.SetWriteDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("a")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write into a cut, with a deadline: %v", err)
	}
	if err := near.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { _, err := near.Write([]byte("a")); wrote <- err }()
	time.Sleep(soon)
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write into a cut whose connection was closed: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if _, err := s.Dial(ctx, addr); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("dial into a cut: %v", err)
	}
}

// packets is a transport of gossip that counts.
type packets struct {
	memberlist.Transport
	sent int
}

func (p *packets) WriteTo([]byte, string) (time.Time, error) { p.sent++; return time.Now(), nil }

func (p *packets) DialTimeout(addr string, limit time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", addr, limit)
}

func TestGossipIsCut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addr := l.Addr().String()
	s, inner := New(), &packets{}
	g := s.Gossip(inner)
	for _, c := range []struct {
		name          string
		now           Settings
		packet, dials bool
	}{
		{"sound", Settings{}, true, true},
		{"out", Settings{Out: []string{addr}}, false, false},
		{"in", Settings{In: []string{addr}}, true, false}, // whoever sends drops the packets
		{"healed", Settings{}, true, true},
	} {
		s.Set(c.now)
		before := inner.sent
		if _, err := g.WriteTo([]byte("a"), addr); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if (inner.sent > before) != c.packet {
			t.Errorf("%s: a packet goes out: %t", c.name, inner.sent > before)
		}
		conn, err := g.DialTimeout(addr, soon)
		if (err == nil) != c.dials {
			t.Errorf("%s: dial: %v", c.name, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

func TestControl(t *testing.T) {
	s := New()
	in, say := io.Pipe()
	heard, answers := io.Pipe()
	served, first := make(chan error, 1), make(chan struct{})
	go func() { served <- s.Serve(in, answers, func() { close(first) }) }()
	want := Settings{Out: []string{"a"}, Disk: Disk{FailSync: true, SlowSync: time.Second, Full: true, Room: 7}}
	go func() { _ = Send(say, want) }()
	b := make([]byte, 100)
	n, err := heard.Read(b)
	if err != nil || !Applied(string(b[:n])) {
		t.Errorf("answer %q, %v", b[:n], err)
	}
	<-first
	if got, _ := s.disk(); got != want.Disk {
		t.Errorf("disk %+v, want %+v", got, want.Disk)
	}
	if cut, _ := s.cut(way{"a", true}); !cut {
		t.Error("nothing is cut")
	}
	_ = say.Close()
	if err := <-served; err != nil {
		t.Errorf("the pipe ended: %v", err)
	}
	if err := s.Serve(strings.NewReader("nonsense\n"), io.Discard, nil); err == nil {
		t.Error("nonsense is taken for settings")
	}
}
