package storage

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

// onDisk opens a store on the real file system.
func onDisk(b *testing.B) *testStore {
	dir := b.TempDir()
	return open(b, vfs.Default, func(o *Options) {
		o.Dir, o.MemTableBytes, o.CacheBytes, o.Rand = dir, DefaultMemTableBytes, DefaultCacheBytes, nil
	})
}

// BenchmarkPut writes different items from 64 writers, each waiting for its fsync.
func BenchmarkPut(b *testing.B) {
	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("sync=%t", sync), func(b *testing.B) {
			s := onDisk(b)
			value := make([]byte, 512)
			var n atomic.Uint64
			b.ReportAllocs()
			b.SetParallelism(32) // times two cores
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					k := key(strconv.FormatUint(n.Add(1), 10), "")
					_, c, err := s.Put(context.Background(), Put{Key: k, Write: causal.Write{Value: value}, Sync: sync})
					if err == nil {
						err = c.Wait(context.Background())
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkMerge merges batches of states as a replica gets them, from 64 writers, with one fsync a batch.
func BenchmarkMerge(b *testing.B) {
	for _, size := range []int{1, 32} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := onDisk(b)
			state := s.foreign(b, string(make([]byte, 512)))
			var n atomic.Uint64
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				merges := make([]Merge, size)
				for pb.Next() {
					for i := range merges {
						merges[i] = Merge{Key: key(strconv.FormatUint(n.Add(1), 10), ""), State: state, Sync: true}
					}
					for _, err := range s.Merge(context.Background(), merges) {
						if err != nil {
							b.Fatal(err)
						}
					}
				}
			})
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "items/s")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := onDisk(b)
	const items = 10_000
	for i := range items {
		s.merge(b, Merge{Key: key(strconv.Itoa(i), ""), State: s.foreign(b, string(make([]byte, 512)))})
	}
	must(b, s.db.Flush())
	for _, hit := range []bool{true, false} {
		b.Run(fmt.Sprintf("hit=%t", hit), func(b *testing.B) {
			var n atomic.Uint64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					k := key(strconv.FormatUint(n.Add(1)%items, 10), "")
					if !hit {
						k.Sort = []byte("none")
					}
					if state, err := s.Get(context.Background(), k); err != nil || (len(state.Versions) == 1) != hit {
						b.Fatal(state, err)
					}
				}
			})
		})
	}
}
