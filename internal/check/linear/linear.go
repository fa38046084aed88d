// Package linear checks with porcupine that single registers are linearizable under strict quorums.
//
// It looks at items whose partition key begins with "register", and of these at strict reads at R with R+W>N for the
// strict writes at W, where a read also meets what a read before it showed (for all at one level: 2R>N). Reads at
// different R are judged apart. Writes that are sloppy or at a lesser W, and those of unknown outcome, may take effect
// at any time after their start, or never; those refused never do. With lost disks, or with writes into memory and a
// crash, nothing is promised.
//
// In buckets where the last write wins an item is a register that keeps the highest dot. Any number of sessions may
// write it, by context or blindly.
//
// An item with siblings is no register: while some writes have not seen each other, two reads may each show another one
// of them, which no order explains. So only those stretches of time count in which each write had seen all before it,
// those that never showed aside: by context, read-modify-write by one session. A stretch ends when a write begins that
// has not seen all before, and another begins when one that has is acknowledged.
package linear

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

const name = "linear"

// Timeout bounds the search on one stretch of one register. Within a bubble of testing/synctest it does not count: there
// no time passes while the search works.
const Timeout = 10 * time.Second

// Check leaves undecided registers alone.
func Check(run *history.Run) []history.Violation {
	violations, _ := Decide(run, Timeout)
	return violations
}

// Decide also returns the registers that it could not decide on in time.
func Decide(run *history.Run, timeout time.Duration) (violations []history.Violation, undecided []history.Key) {
	if run.DisksLost > 0 {
		return nil, nil
	}
	for _, it := range item.All(run) {
		if !strings.HasPrefix(it.Key.Partition, "register") || run.Crashes > 0 && it.Memory() {
			continue
		}
		open := false
		for _, s := range stretches(it) {
			switch s.check(timeout) {
			case porcupine.Illegal:
				violations = append(violations, s.violation(it, timeout))
			case porcupine.Unknown:
				open = true
			}
		}
		if open {
			undecided = append(undecided, it.Key)
		}
	}
	return violations, undecided
}

// empty is the rank of an item that was never written, and what a read wants that showed nothing.
const empty = -1

// step is a write or a read on a register that only grows: it keeps the highest rank.
type step struct {
	write      bool
	rank       int // that is written, or that the read showed
	mixed      bool
	start, end time.Duration
	op         *history.Op
}

const never = time.Duration(1<<63 - 1)

// stretch is what is checked as one.
type stretch struct {
	r         int
	initial   int
	tombstone func(rank int) bool
	steps     []step
}

// stretches finds what can be checked, for each level of reads.
func stretches(it *item.Item) (out []*stretch) {
	rs := map[int]bool{}
	for _, op := range it.Reads {
		if n := it.Bucket.N; op.Strict && min(op.Quorum, n-op.Quorum+1)+op.Quorum > n {
			rs[op.Quorum] = true
		}
	}
	for r := range rs {
		if it.Bucket.Policy == history.LWW {
			out = append(out, byDot(it, r))
		} else {
			out = append(out, byContext(it, r)...)
		}
	}
	return out
}

// tighten takes the slack out of writes that may take effect at any time, where it makes no difference; what is left is
// searched quickly. One that no read showed might as well never have been. And once something as high has been there
// they change nothing, so they might as well have come at once.
func (s *stretch) tighten() {
	shown := map[int]bool{}
	var closed []step // by falling rank; each with the first end of any as high
	for _, st := range s.steps {
		if !st.write {
			shown[st.rank] = true
		}
		if st.end != never {
			closed = append(closed, st)
		}
	}
	slices.SortFunc(closed, func(a, b step) int { return b.rank - a.rank })
	for i := 1; i < len(closed); i++ {
		closed[i].end = min(closed[i].end, closed[i-1].end)
	}
	s.steps = slices.DeleteFunc(s.steps, func(st step) bool {
		return st.end == never && !shown[st.rank] && !s.tombstone(st.rank)
	})
	for i := range s.steps {
		st := &s.steps[i]
		at := sort.Search(len(closed), func(j int) bool { return closed[j].rank < st.rank })
		if st.end == never && at > 0 {
			st.end = max(st.start, closed[at-1].end)
		}
	}
}

func (s *stretch) check(timeout time.Duration) porcupine.CheckResult { return s.until(never, timeout) }

// until checks what was over by then.
func (s *stretch) until(end, timeout time.Duration) porcupine.CheckResult {
	var ops []porcupine.Operation
	for i := range s.steps {
		st := &s.steps[i]
		if st.end <= end || st.write {
			ops = append(ops, porcupine.Operation{ClientId: i, Input: st, Call: int64(st.start), Return: int64(st.end)})
		}
	}
	return porcupine.CheckOperationsTimeout(porcupine.Model{
		Init: func() any { return s.initial },
		Step: func(state, input, _ any) (bool, any) { return s.step(state.(int), input.(*step)) },
	}, ops, timeout)
}

func (s *stretch) step(state int, st *step) (bool, any) {
	switch {
	case st.write:
		return true, max(state, st.rank)
	case st.mixed:
		return false, state
	case st.rank == empty:
		return state == empty || s.tombstone(state), state
	default:
		return state == st.rank, state
	}
}

// violation finds the first read that no order explains.
func (s *stretch) violation(it *item.Item, timeout time.Duration) history.Violation {
	var reads []*step
	for i := range s.steps {
		if !s.steps[i].write {
			reads = append(reads, &s.steps[i])
		}
	}
	slices.SortFunc(reads, func(a, b *step) int { return int(a.end - b.end) })
	at := sort.Search(len(reads), func(i int) bool { return s.until(reads[i].end, timeout) == porcupine.Illegal })
	op := reads[min(at, len(reads)-1)].op
	var shown []string
	for _, v := range op.Versions {
		shown = append(shown, fmt.Sprintf("%s (%q)", v.Write, v.Value))
	}
	return history.Violation{Checker: name, Key: it.Key, Op: op.Index, Message: fmt.Sprintf(
		"not linearizable: no order of the writes and the reads at %d before it explains that this one shows %v", s.r, shown)}
}
