package client_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
)

// BenchmarkHedging is one caller of three nodes, each of which takes 40 ms over one get in fifty. Run it with -benchtime
// 3000x; extra is the share of gets that were sent twice.
func BenchmarkHedging(b *testing.B) {
	for _, share := range []float64{0, client.DefaultHedgeShare} {
		b.Run("share="+strconv.FormatFloat(share, 'g', -1, 64), func(b *testing.B) {
			cluster := kvfake.Start(b, 3)
			c, err := client.Open(b.Context(), cluster.Addrs(), client.HedgeShare(share))
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			read := func() time.Duration {
				begun := time.Now()
				if _, err := c.Get(b.Context(), bucket, client.NewKey("k", "")); err != nil {
					b.Fatal(err)
				}
				return time.Since(begun)
			}
			for range 200 {
				read() // so that it is known what is usual
			}
			cluster.Intercept(func(ctx context.Context, method string, _ any) error {
				if method == "Get" && rand.IntN(50) == 0 {
					select {
					case <-ctx.Done():
					case <-time.After(40 * time.Millisecond):
					}
				}
				return nil
			})
			asked := 0
			for _, n := range calls(cluster.Nodes, "Get") {
				asked -= n
			}
			times := make([]time.Duration, b.N)
			b.ResetTimer()
			for i := range times {
				times[i] = read()
			}
			b.StopTimer()
			for _, n := range calls(cluster.Nodes, "Get") {
				asked += n
			}
			slices.Sort(times)
			at := func(percent int) float64 { return float64(times[(len(times)-1)*percent/100].Microseconds()) / 1000 }
			b.ReportMetric(at(50), "p50-ms")
			b.ReportMetric(at(99), "p99-ms")
			b.ReportMetric(100*float64(asked-b.N)/float64(b.N), "extra-%")
		})
	}
}
