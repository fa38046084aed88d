// Package story makes histories for the tests of checkers: small ones told step by step, and random ones of a store that
// keeps its promises.
package story

import (
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/history"
)

// Step is the time that each operation of a story takes, and that lies between two.
const Step = time.Millisecond

// Key is the item that stories are about.
var Key = history.Key{Bucket: "b", Partition: "k"}

// Story is a history of one item with three owners. Operations come one after the other, strict, at a quorum, and
// succeed; tests change what should be different on the operations that the methods return.
type Story struct {
	run history.Run
	ops []*history.Op
	ids map[history.WriteID]*history.Op
	now time.Duration
}

// New begins a story.
func New(policy history.Policy) *Story {
	return &Story{
		run: history.Run{Buckets: map[string]history.Bucket{Key.Bucket: {Policy: policy, N: 3}}}, ids: map[history.WriteID]*history.Op{},
	}
}

func (s *Story) add(op history.Op) *history.Op {
	op.Index, op.Key, op.Outcome, op.Tries, op.Quorum, op.Strict = len(s.ops), Key, history.Done, 1, 2, true
	op.Start, op.End = s.now, s.now+Step
	s.now += 2 * Step
	s.ops = append(s.ops, &op)
	s.ids[op.Write] = &op
	return &op
}

func (s *Story) write(op history.Op, id string, saw []string) *history.Op {
	op.Write, op.Acks = history.WriteID(id), 2
	for _, x := range saw {
		op.Saw = append(op.Saw, history.WriteID(x))
	}
	op.Blind = len(saw) == 0 && !op.CoversAll
	op.Dot = causal.Dot{Actor: 1, HLC: causal.HLC(100 * (len(s.ops) + 1))}
	return s.add(op)
}

// Put writes a version, which a context that was issued with others covers.
func (s *Story) Put(id string, saw ...string) *history.Op {
	return s.write(history.Op{Kind: history.Put, Value: "value " + id}, id, saw)
}

// Delete writes a tombstone; with nothing seen the server reads first.
func (s *Story) Delete(id string, saw ...string) *history.Op {
	return s.write(history.Op{Kind: history.Delete, CoversAll: len(saw) == 0}, id, saw)
}

// Read shows versions. It is in a session of its own.
func (s *Story) Read(ids ...string) *history.Op {
	return s.add(history.Op{Kind: history.Read, Session: 1, Versions: s.Versions(ids...)})
}

// Versions are what writes made.
func (s *Story) Versions(ids ...string) (out []history.Version) {
	for _, id := range ids {
		v := history.Version{Write: history.WriteID(id), Value: "value " + id}
		if op := s.ids[v.Write]; op != nil {
			v.Dot, v.Value, v.Tombstone = op.Dot, op.Value, op.Kind == history.Delete
		}
		out = append(out, v)
	}
	return out
}

// End says what is there when all is over: in the last read, where tombstones alone don't show, and in the copies of
// the three owners.
func (s *Story) End(ids ...string) *history.Final {
	vs := s.Versions(ids...)
	f := history.Final{Key: Key, Read: vs}
	if !slices.ContainsFunc(vs, func(v history.Version) bool { return !v.Tombstone }) {
		f.Read = nil
	}
	for _, node := range []string{"n1", "n2", "n3"} {
		c := history.Copy{Node: node, Owner: true, Versions: vs}
		for _, id := range ids {
			c.State = append(c.State, id...)
		}
		f.Copies = append(f.Copies, c)
	}
	s.run.Finals = []history.Final{f}
	return &s.run.Finals[0]
}

// Run is the history. The story may change it further.
func (s *Story) Run() *history.Run {
	s.run.Ops = nil
	for _, op := range s.ops {
		s.run.Ops = append(s.run.Ops, *op)
	}
	slices.SortStableFunc(s.run.Ops, func(a, b history.Op) int { return int(a.End - b.End) })
	return &s.run
}

// Case is a history, and what a checker should say of it.
type Case struct {
	Name   string
	Policy history.Policy // siblings if empty
	Tell   func(s *Story)
	// Want is part of the message of the first violation; empty: there is none.
	Want string
	Edit func(run *history.Run) // of the finished history
}
