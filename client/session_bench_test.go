//go:build unix

package client_test

import (
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/testcluster"
)

// BenchmarkGet and BenchmarkPut are 64 callers of one node in this process, over a session and by themselves. cpu-µs/op is
// the processor time of both sides.
func BenchmarkGet(b *testing.B) {
	benchmark(b, func(b *testing.B, c *client.Client, key client.Key, _ *client.Context) error {
		_, err := c.Get(b.Context(), bucket, key)
		return err
	})
}

func BenchmarkPut(b *testing.B) {
	value := make([]byte, 100)
	benchmark(b, func(b *testing.B, c *client.Client, key client.Key, seen *client.Context) error {
		w, err := c.Put(b.Context(), bucket, key, value, client.WithContext(*seen), client.WithDurability(client.DurabilityMemory))
		if err == nil {
			*seen = w.Context
		}
		return err
	})
}

func benchmark(b *testing.B, call func(b *testing.B, c *client.Client, key client.Key, seen *client.Context) error) {
	const callers = 64
	cluster := testcluster.New(b, testcluster.Options{Nodes: 1})
	var keys atomic.Int64
	for _, mode := range []string{"session", "unary"} {
		b.Run(mode, func(b *testing.B) {
			c := cluster.In(b).Client()
			if mode == "unary" {
				c.WithoutSessions()
			}
			b.SetParallelism(callers / 2) // times GOMAXPROCS: run with -cpu 2
			b.ReportAllocs()
			b.ResetTimer()
			used := cpuTime(b)
			b.RunParallel(func(pb *testing.PB) {
				key := client.NewKey(strconv.FormatInt(keys.Add(1), 10), "")
				var seen client.Context
				for pb.Next() {
					if err := call(b, c, key, &seen); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64((cpuTime(b)-used).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
