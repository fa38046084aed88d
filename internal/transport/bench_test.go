package transport

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkCall has some callers write items of 256 bytes over loopback TCP, both sides in this process. With few of them
// frames hold one request each, as between nodes of which each has little to ask of each other.
func BenchmarkCall(b *testing.B) {
	for _, c := range []struct {
		callers int
		linger  time.Duration
	}{{64, 0}, {64, 200 * time.Microsecond}, {4, 0}, {1, 0}} {
		b.Run(fmt.Sprintf("callers=%d/linger=%v", c.callers, c.linger), func(b *testing.B) { benchmarkCall(b, c.callers, c.linger) })
	}
}

func benchmarkCall(b *testing.B, callers int, linger time.Duration) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	identity := func(n byte) Options {
		return Options{Self: func() Identity { return testIdentity(n) }, Limits: Limits{Linger: linger}}
	}
	s := serveOn(lis, identity(2), echo)
	defer s.stop()
	p := NewPool(identity(1))
	defer p.Close()
	peer := Peer{ID: NodeID{2}, Addr: lis.Addr().String()}
	req := write(256)

	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, callers)
	for range cap(done) {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			for left.Add(-1) >= 0 {
				if _, err := p.Call(ctx, peer, req); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	st := p.Stats()[0]
	b.ReportMetric(float64(st.RequestsSent)/float64(st.FramesSent), "requests/frame")
	b.ReportMetric(float64(st.RepliesReceived)/float64(st.FramesReceived), "replies/frame")
}
