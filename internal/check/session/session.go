// Package session checks what strict quorums promise to readers. What a write at W has been acknowledged for, or a read
// at R has shown, every later strict read shows, or something that replaced it:
//
//   - a write at W is on W owners, so a read at R meets it if R+W>N;
//   - what a read at R showed is on R owners if their answers agreed, and on N-R+1 if it had to join them: on the lesser
//     of both at least. A later read at R' meets it if that and R' are more than N. For reads at one level: if 2R>N.
//
// Within one session that is reading one's own writes and monotonic reads; it holds across sessions as well. Nothing is
// promised once disks have lost what they had synced, nor of writes into memory after a crash.
package session

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

const name = "session"

// Check looks at all strict reads.
func Check(run *history.Run) (out []history.Violation) {
	if run.DisksLost > 0 {
		return nil
	}
	for _, it := range item.All(run) {
		rs := map[int]bool{}
		for _, op := range it.Reads {
			if op.Strict {
				rs[op.Quorum] = true
			}
		}
		for _, r := range slices.Sorted(maps.Keys(rs)) {
			s := &sweep{it: it, r: r}
			if it.Bucket.Policy == history.LWW {
				s.run(newNewest(it))
			} else {
				s.run(newFrontier(it))
			}
			out = append(out, s.out...)
		}
	}
	return out
}

// event is a write that every strict read at some level must show from then on, or a successor.
type event struct {
	place int
	op    *history.Op // the write that was acknowledged, or the read that showed it
	shown history.Version
}

// demands is what reads must show, by the policy of a bucket.
type demands interface {
	// add demands one more.
	add(e event)
	// unmet returns a demand that a read does not meet, one of its own included.
	unmet(read *history.Op, own []event) (event, bool)
}

// sweep checks all strict reads at one level, in the order in which they began.
type sweep struct {
	it  *item.Item
	r   int
	out []history.Violation
}

func (s *sweep) run(d demands) {
	events := s.events()
	next := 0
	var tied []event // over at the very moment at which reads begin: they bind their own session only
	for _, read := range s.it.Reads {
		if !read.Strict || read.Quorum != s.r {
			continue
		}
		for ; next < len(events) && events[next].op.End < read.Start; next++ {
			d.add(events[next])
		}
		tied = tied[:0]
		for i := next; i < len(events) && events[i].op.End == read.Start; i++ {
			if item.Before(events[i].op, read) {
				tied = append(tied, events[i])
			}
		}
		if e, bad := d.unmet(read, tied); bad {
			s.out = append(s.out, history.Violation{Checker: name, Key: s.it.Key, Op: read.Index, Message: s.message(e, read)})
		}
		if len(s.out) == item.Most {
			return
		}
	}
}

func (s *sweep) message(e event, read *history.Op) string {
	kind, what := "stale read", fmt.Sprintf("acknowledged at %v", e.op.End)
	if e.op.Session == read.Session {
		kind = "a session does not read its own write"
	}
	if e.op.Kind == history.Read {
		kind, what = "a read goes back in time", fmt.Sprintf("shown by operation %d, over at %v", e.op.Index, e.op.End)
		if e.op.Session == read.Session {
			kind = "a session's reads go back in time"
		}
	}
	w := s.it.Writes[e.place].Op
	return fmt.Sprintf("%s: at %d of %d, begun at %v, it misses %s %s (%q, operation %d), %s, and shows no successor",
		kind, s.r, s.it.Bucket.N, read.Start, w.Kind, w.Write, w.Value, w.Index, what)
}

// events are what a strict read at level r must find once it is over, in that order.
func (s *sweep) events() (out []event) {
	for p := range s.it.Writes {
		if w := &s.it.Writes[p]; s.it.Acknowledged(p, s.r) {
			out = append(out, event{p, w.Op, history.Version{Write: w.Op.Write, Dot: w.Op.Dot, Tombstone: w.Op.Kind == history.Delete}})
		}
	}
	n := s.it.Bucket.N
	for _, op := range s.it.Reads {
		if !op.Strict || min(op.Quorum, n-op.Quorum+1)+s.r <= n {
			continue
		}
		for _, v := range op.Versions {
			if p, ok := s.it.Find(v.Write); ok && s.it.ShownIsKept(p) {
				out = append(out, event{p, op, v})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b event) int { return cmp.Compare(a.op.End, b.op.End) })
	return out
}
