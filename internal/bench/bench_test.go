package bench

import (
	"context"
	"testing"
	"time"
)

// BenchmarkRunner is what the load costs by itself: drawing an operation, taking the time, and counting.
func BenchmarkRunner(b *testing.B) {
	items, err := NewItems(100_000, false, 0)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	n := 0
	r, err := NewRunner(Options{
		Workload: Workloads()[0], Items: items, Values: NewValues(1024, 1), Callers: 1,
		Do: func(context.Context, int, Op) error {
			if n++; n == b.N {
				cancel()
			}
			return nil
		},
		ErrorKind: func(error) string { return "" },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	r.Run(ctx, time.Hour)
}
