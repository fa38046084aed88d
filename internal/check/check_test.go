package check_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

// TestAccepts: a store that keeps its promises is never complained of.
func TestAccepts(t *testing.T) {
	var total [3]int
	for seed := range uint64(60) {
		for _, policy := range []history.Policy{history.Siblings, history.LWW} {
			run := story.Random(seed, policy, 400)
			s := history.Summarize(run)
			for i, o := range []history.Outcome{history.Done, history.Refused, history.Unknown} {
				total[i] += s.Outcome(o)
			}
			for i, v := range check.All(run) {
				if i < 3 {
					t.Errorf("seed %d, %s: a false alarm: %v", seed, policy, v)
				}
			}
		}
	}
	t.Logf("operations done, refused, unknown: %v", total)
	if slices.Min(total[:]) < 100 {
		t.Errorf("too few of a kind: %v", total)
	}
}

// edits break a promise in a history. They return false where they find nothing to break.
var edits = []struct {
	name    string
	policy  history.Policy
	checker string
	// least is the share of broken histories, in percent, that the checker must complain of. It is less than all where a
	// delete without a context may excuse what is missing.
	least int
	edit  func(e *editor) bool
}{
	{"a value that nobody wrote", history.Siblings, "phantom", 100, func(e *editor) bool {
		r := e.read(func(r *history.Op) bool { return len(r.Versions) > 0 })
		r.Versions[0].Value += "?"
		return true
	}},
	{"a refused write shows", history.Siblings, "phantom", 100, func(e *editor) bool {
		w := e.op(func(op *history.Op) bool { return op.Outcome == history.Refused && op.Kind == history.Put })
		if w == nil {
			return false
		}
		r := e.read(func(r *history.Op) bool { return r.Key == w.Key && r.Start > w.End })
		if r == nil {
			return false
		}
		r.Versions = append(r.Versions, history.Version{Write: w.Write, Value: w.Value})
		return true
	}},
	{"a covered version is there at the end", history.Siblings, "siblings", 100, func(e *editor) bool {
		w := e.op(func(op *history.Op) bool { return len(op.Saw) > 0 && op.Outcome == history.Done })
		e.final(w.Key, func(vs []history.Version) []history.Version { return append(vs, e.version(w.Saw[0])) })
		return true
	}},
	{"a delete is undone", history.Siblings, "deleted", 100, func(e *editor) bool {
		d := e.op(func(op *history.Op) bool {
			return op.Kind == history.Delete && len(op.Saw) > 0 && op.Outcome == history.Done
		})
		if d == nil || e.version(d.Saw[0]).Tombstone {
			return false
		}
		e.final(d.Key, func([]history.Version) []history.Version { return []history.Version{e.version(d.Saw[0])} })
		return true
	}},
	{"a delete is undone", history.LWW, "deleted", 100, func(e *editor) bool {
		d := e.op(func(op *history.Op) bool {
			return op.Kind == history.Delete && len(op.Saw) > 0 && op.Outcome == history.Done
		})
		if d == nil || e.version(d.Saw[0]).Tombstone {
			return false
		}
		e.final(d.Key, func([]history.Version) []history.Version { return []history.Version{e.version(d.Saw[0])} })
		return true
	}},
	{"an acknowledged write is lost", history.Siblings, "durable", 60, func(e *editor) bool {
		lost := false
		e.final(e.key(), func(vs []history.Version) []history.Version {
			return slices.DeleteFunc(slices.Clone(vs), func(v history.Version) bool {
				w := e.op(func(op *history.Op) bool { return op.Write == v.Write })
				gone := w != nil && w.Outcome == history.Done && !v.Tombstone
				lost = lost || gone
				return gone
			})
		})
		return lost
	}},
	{"a strict read is stale", history.Siblings, "session", 90, stale(false)},
	{"a strict read is stale", history.Siblings, "siblings", 100, stale(false)},
	{"a strict read is stale", history.LWW, "session", 100, stale(false)},
	{"a read of a register is stale", history.Siblings, "linear", 60, stale(true)},
	{"a read of a register is stale", history.LWW, "linear", 100, stale(true)},
	{"a read of a register finds nothing", history.Siblings, "session", 100, func(e *editor) bool {
		w := e.op(func(op *history.Op) bool {
			return onRegister(op) && op.Kind == history.Put && op.Outcome == history.Done
		})
		r := e.read(func(r *history.Op) bool { return onRegister(r) && r.Start > w.End })
		if r == nil {
			return false
		}
		r.Versions = nil
		return true
	}},
	{"an older version stays", history.LWW, "lastwrite", 100, func(e *editor) bool {
		k, older := e.key(), false
		e.final(k, func(vs []history.Version) []history.Version {
			if len(vs) != 1 || !e.acknowledged(vs[0].Write) {
				return vs
			}
			w := e.op(func(op *history.Op) bool {
				v, known := e.versions[op.Write]
				return known && op.Key == k && v.Dot.Compare(vs[0].Dot) < 0
			})
			if w == nil {
				return vs
			}
			older = true
			return []history.Version{e.version(w.Write)}
		})
		return older
	}},
	{"a write is dated before what it saw", history.LWW, "lastwrite", 100, func(e *editor) bool {
		w := e.op(func(op *history.Op) bool {
			return len(op.Saw) > 1 && op.Outcome == history.Done || len(op.Saw) == 1 && op.Tries == 1 && op.Outcome == history.Done
		})
		if x := e.op(func(op *history.Op) bool { return op.Write == w.Saw[0] }); x.Tries > 1 {
			return false
		}
		w.Dot = causal.Dot{Actor: 1, HLC: 1}
		return true
	}},
	{"an owner differs", history.Siblings, "converged", 100, func(e *editor) bool {
		c := &e.run.Finals[e.rng.IntN(len(e.run.Finals))].Copies[e.rng.IntN(3)]
		c.State = append(slices.Clone(c.State), 0)
		return true
	}},
}

// stale makes a strict read show what a version had seen that was acknowledged before.
func stale(register bool) func(e *editor) bool {
	return func(e *editor) bool {
		r := e.read(func(r *history.Op) bool {
			if len(r.Versions) != 1 || register != onRegister(r) {
				return false
			}
			w := e.op(func(op *history.Op) bool { return op.Write == r.Versions[0].Write })
			return w.Outcome == history.Done && w.End < r.Start && len(w.Saw) > 0
		})
		if r == nil {
			return false
		}
		w := e.op(func(op *history.Op) bool { return op.Write == r.Versions[0].Write })
		r.Versions = []history.Version{e.version(w.Saw[0])}
		return true
	}
}

func onRegister(op *history.Op) bool { return op.Key.Partition == "register" }

// editor finds things in a history, at random.
type editor struct {
	run      *history.Run
	rng      *rand.Rand
	versions map[history.WriteID]history.Version
}

func newEditor(seed uint64, policy history.Policy) *editor {
	e := &editor{run: story.Random(seed, policy, 400), rng: rand.New(rand.NewPCG(seed, 1)), versions: map[history.WriteID]history.Version{}}
	for _, op := range e.run.Ops {
		if op.Kind != history.Read && op.Outcome == history.Done {
			e.versions[op.Write] = history.Version{Write: op.Write, Dot: op.Dot, Value: op.Value, Tombstone: op.Kind == history.Delete}
		}
		for _, v := range op.Versions {
			e.versions[v.Write] = v
		}
	}
	return e
}

func (e *editor) version(id history.WriteID) history.Version { return e.versions[id] }

func (e *editor) acknowledged(id history.WriteID) bool {
	return slices.ContainsFunc(e.run.Ops, func(op history.Op) bool { return op.Write == id && op.Outcome == history.Done })
}

func (e *editor) op(is func(op *history.Op) bool) *history.Op {
	from := e.rng.IntN(len(e.run.Ops))
	for i := range e.run.Ops {
		if op := &e.run.Ops[(from+i)%len(e.run.Ops)]; is(op) {
			return op
		}
	}
	return nil
}

func (e *editor) read(is func(op *history.Op) bool) *history.Op {
	return e.op(func(op *history.Op) bool { return op.Kind == history.Read && is(op) })
}

func (e *editor) key() history.Key { return e.run.Finals[e.rng.IntN(len(e.run.Finals))].Key }

// final changes what is there at the end, in the last read and all copies.
func (e *editor) final(k history.Key, change func([]history.Version) []history.Version) {
	i := slices.IndexFunc(e.run.Finals, func(f history.Final) bool { return f.Key == k })
	f := &e.run.Finals[i]
	all := change(slices.Clone(f.Copies[0].Versions))
	f.Read = all
	if !slices.ContainsFunc(all, func(v history.Version) bool { return !v.Tombstone }) {
		f.Read = nil
	}
	for c := range f.Copies {
		f.Copies[c].Versions = all
	}
}

// TestEdits: of a history that breaks one promise the checker of that promise complains.
func TestEdits(t *testing.T) {
	for _, edit := range edits {
		t.Run(fmt.Sprintf("%s/%s/%s", edit.checker, edit.name, edit.policy), func(t *testing.T) {
			broken, caught := 0, 0
			for seed := range uint64(25) {
				e := newEditor(seed, edit.policy)
				if !edit.edit(e) {
					continue
				}
				broken++
				if slices.ContainsFunc(check.All(e.run), func(v history.Violation) bool { return v.Checker == edit.checker }) {
					caught++
				}
			}
			if broken < 5 || 100*caught < edit.least*broken {
				t.Errorf("caught %d of %d, want %d %%", caught, broken, edit.least)
			}
			t.Logf("caught %d of %d", caught, broken)
		})
	}
}

// TestLong: the time that checkers take grows little faster than the history, on one item as well as on many.
func TestLong(t *testing.T) {
	if testing.Short() {
		t.Skip("long histories")
	}
	for _, policy := range []history.Policy{history.Siblings, history.LWW} {
		s := story.New(policy)
		s.Put("side")
		last := "side2"
		s.Put(last)
		for i := range 25_000 {
			id := fmt.Sprint(i)
			w := s.Put(id, last)
			if i%7 == 0 {
				w.Outcome = history.Unknown
			}
			if last = id; policy == history.Siblings {
				s.Read("side", last)
			} else {
				s.Read(last)
			}
		}
		if policy == history.Siblings {
			s.End("side", last).Copies = nil
		} else {
			s.End(last)
		}
		start := time.Now()
		if got := check.All(s.Run()); len(got) > 0 {
			t.Errorf("%s: %d violations, the first: %v", policy, len(got), got[0])
		}
		t.Logf("%s: %v", policy, time.Since(start))
	}
}
