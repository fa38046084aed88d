package history_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/history"
)

func TestRecorder(t *testing.T) {
	var clock atomic.Int64
	r := history.NewRecorder(func() time.Duration { return time.Duration(clock.Add(1)) })
	first := history.Op{Kind: history.Put}
	r.Begin(&first)
	var sessions sync.WaitGroup
	for s := range 8 {
		sessions.Go(func() {
			for range 100 {
				op := history.Op{Session: s, Kind: history.Read}
				r.Begin(&op)
				r.End(&op)
			}
		})
	}
	sessions.Wait()
	r.End(&first)
	ops := r.Ops()
	if len(ops) != 801 || ops[800].Kind != history.Put || ops[800].Index != 0 {
		t.Fatalf("%d operations, the last %+v, want the first to come last of 801", len(ops), ops[len(ops)-1])
	}
	if !slices.IsSortedFunc(ops, func(a, b history.Op) int { return int(a.End - b.End) }) {
		t.Error("not in the order of End")
	}
	seen := map[int]bool{}
	for _, op := range ops {
		if seen[op.Index] || op.Start >= op.End {
			t.Errorf("operation %d from %v to %v, or twice", op.Index, op.Start, op.End)
		}
		seen[op.Index] = true
	}
}
