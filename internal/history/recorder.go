package history

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Recorder collects the operations of many sessions. It is safe for concurrent use, and keeps everything until it is
// dropped: how much that is lies with the sessions.
type Recorder struct {
	now func() time.Duration

	mu   sync.Mutex
	next int
	ops  []Op
}

// NewRecorder makes a recorder; now tells the time since the start of the run and never runs backwards.
func NewRecorder(now func() time.Duration) *Recorder { return &Recorder{now: now} }

// Begin numbers an operation and notes when it starts. Call it before anything is sent.
func (r *Recorder) Begin(op *Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Index = r.next
	r.next++
	op.Start = r.now()
}

// End notes when an operation is over and keeps a copy of it. Call it after the last answer, once for each operation.
func (r *Recorder) End(op *Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.End = r.now()
	r.ops = append(r.ops, *op)
}

// Ops returns what has ended so far, in the order of End.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedStableFunc(slices.Values(r.ops), func(a, b Op) int { return cmp.Compare(a.End, b.End) })
}
