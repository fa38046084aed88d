package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/storage"
)

// step is a moment of a round: the n-th time that something of its kind is about to happen to its victim.
type step struct {
	kind   string
	victim string // asks, answers, or the name of a node whose disk syncs
	n      int
}

func (s step) String() string { return fmt.Sprintf("%s/%s/%d", s.kind, s.victim, s.n) }

const (
	asks    = "asks"
	answers = "answers"
)

// steps watches a cluster's rounds, counts their steps, and crashes the victim of one of them.
type steps struct {
	c *cluster
	// at is the one to crash at; the zero step: none.
	at step

	mu     sync.Mutex
	armed  bool
	count  map[step]int // by kind and victim
	victim int          // -1 before the crash
}

var antiEntropy = []string{
	"Attest", "Confirm", "RaiseFloors", "ReadClaims", "CompareRoots", "CompareNodes", "CompareItems", "Compare", "Handoff",
}

func (s *steps) see(m message) fate {
	if !slices.Contains(antiEntropy, m.kind) {
		return goesOn
	}
	kind, asker, answerer := m.kind, m.from, m.to
	if m.answer {
		kind, asker, answerer = kind+"Reply", m.to, m.from
	}
	s.pass(step{kind: kind, victim: asks}, int(asker))
	s.pass(step{kind: kind, victim: answers}, int(answerer))
	return goesOn
}

// pass counts a step, and crashes the node if this is the one.
func (s *steps) pass(at step, node int) {
	s.mu.Lock()
	if !s.armed {
		s.mu.Unlock()
		return
	}
	s.count[at]++
	at.n = s.count[at]
	hit := at == s.at && s.victim < 0
	if hit {
		s.victim = node
	}
	s.mu.Unlock()
	if hit {
		s.c.trace.add(place(node), "crashes at step %v", at)
		s.c.crash(node, 0)
	}
}

func (s *steps) arm(armed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = armed
}

func (s *steps) crashed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.victim
}

// oldDisk is the node that comes with an old disk, where one does.
const oldDisk = 3

// TestCrashAtEachStep has rounds that mend what differs and purge what is deleted, and crashes the one who asks, and the one who
// answers, at each kind of step of them: at every message of anti-entropy, and at every sync of a log meanwhile. Then it does so again
// while one node has an old disk, and is rebuilt. What a crash loses is what was not synced. Two whole rounds later all owners
// are together, and every tombstone is gone.
func TestCrashAtEachStep(t *testing.T) {
	for _, rebuilt := range []bool{false, true} {
		t.Run(fmt.Sprint("rebuilt=", rebuilt), func(t *testing.T) {
			counted, _ := roundWithCrash(t, step{}, rebuilt)
			for _, kind := range antiEntropy {
				if counted[step{kind: kind, victim: asks}] == 0 && rebuilt == (kind == "ReadClaims") {
					t.Errorf("no %s was asked", kind)
				}
			}
			var runs, crashes atomic.Int64
			for i, at := range chosen(counted, rebuilt) {
				if i%crashEvery != 0 {
					continue
				}
				t.Run(at.String(), func(t *testing.T) {
					t.Parallel()
					runs.Add(1)
					if _, crashed := roundWithCrash(t, at, rebuilt); crashed {
						crashes.Add(1)
					}
				})
			}
			t.Cleanup(func() { // when all runs are over
				if 4*crashes.Load() < 3*runs.Load() {
					t.Errorf("only %d of %d runs came to their step", crashes.Load(), runs.Load())
				}
			})
		})
	}
}

// chosen are the first and one of the last of each kind of step, whose number is not the same in each run; of those of a rebuilt
// node only what no round has.
func chosen(counted map[step]int, rebuilt bool) (all []step) {
	for at, n := range counted {
		if rebuilt && !strings.HasPrefix(at.kind, "ReadClaims") && at.victim != nodeName(oldDisk) {
			continue
		}
		for _, at.n = range slices.Compact([]int{1, n - n/10}) {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, func(a, b step) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// roundWithCrash is one run. It returns how often each kind of step was passed, and whether the one came.
func roundWithCrash(t *testing.T, at step, rebuilt bool) (counted map[step]int, crashed bool) {
	synctest.Test(t, func(t *testing.T) {
		s := &steps{at: at, count: map[step]int{}, victim: -1}
		r := newRounds(t, s.see, func(c *cluster) {
			s.c = c
			for _, m := range c.members {
				m.disk.syncing = func() { s.pass(step{kind: "sync", victim: nodeName(int(m.at))}, int(m.at)) }
			}
		})
		image := r.differ()
		if rebuilt {
			time.Sleep(2 * time.Second) // for its peers to hear that its clock has gone on
			r.c.crash(oldDisk, 0)
			r.c.members[oldDisk].disk.replace(image)
			time.Sleep(3 * time.Second)
			r.must(r.c.start(oldDisk))
		}
		s.arm(true)
		r.passTime(pastAll)
		noticed := false
		for over := time.Now().Add(2 * roundEvery); time.Now().Before(over) && s.crashed() < 0; {
			time.Sleep(100 * time.Millisecond)
			if n := r.c.running(oldDisk); n != nil {
				noticed = noticed || slices.ContainsFunc(n.Store().Claims(), func(c storage.Claim) bool { return c.Rebuilding })
			}
		}
		s.arm(false)
		if i := s.crashed(); i >= 0 {
			crashed = true
			time.Sleep(3 * time.Second)
			r.must(r.c.start(i))
			r.must(r.c.awaitReady(healWithin, r.all()))
		} else if noticed != rebuilt {
			t.Errorf("a copy was rebuilt: %v, want %v", noticed, rebuilt)
		}
		r.await("owners are together and nothing deleted is left", twoRounds, r.converged)
		r.checkFloors("at the end")
		counted = s.count
	})
	return counted, crashed
}

// differ makes items of which some are deleted, some are lost by one owner, some are known to one owner alone, and some have another
// version there. It returns how the disk of one node was before; there no owner is alone with anything.
func (r *rounds) differ() (before *vfs.MemFS) {
	for i := range 24 {
		r.put(fmt.Sprint("item-", i))
	}
	time.Sleep(2 * roundEvery)
	r.await("floors rise", twoRounds, func() error { return r.floorsReach(1) })
	before = r.c.members[oldDisk].disk.image(0)
	time.Sleep(2 * time.Second) // a younger image would not be noticed
	one := func(k storage.Key, i int) int {
		owners := slices.DeleteFunc(r.owners(k), func(at int) bool { return at == oldDisk })
		return owners[i%len(owners)]
	}
	kept := slices.Clone(r.keys)
	for i, k := range kept {
		switch i % 4 {
		case 0, 1:
			r.remove(k)
			if i%4 == 1 {
				late := r.key(string(k.Partition) + " late")
				r.late(one(late, i), late)
			}
		case 2:
			r.must(r.store(one(k, i)).Lose(context.Background(), k, false))
		case 3:
			r.late(one(k, i), k)
		}
	}
	return before
}
