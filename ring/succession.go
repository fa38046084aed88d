package ring

import (
	"fmt"
	"math"
)

// Begin makes the joint epoch in which owners move from this stable one's layout to next. Next has
// a higher version, and as many partitions or a multiple: a partition that is cut hands its marks
// to all its parts, so cutting alone moves nothing. The version of a layout that was given up may
// be used again.
//
// Begin does not know the buckets. What their N, R and W make of the move, Preview says.
//
// Errors are *SuccessionError, here and in Commit, Abort and Follows.
func (e *Epoch) Begin(next *Layout) (*Epoch, error) {
	switch {
	case e.Joint():
		return nil, e.refuse("a move to layout %d is under way: commit or abort it first", e.Next.version)
	case next == nil:
		return nil, e.refuse("no layout to move to: plan one")
	case next.version <= e.Base.version:
		return nil, e.refuse("layout %d comes no later than layout %d in force: plan with a higher version", next.version, e.Base.version)
	case next.Partitions() < e.Base.Partitions():
		return nil, e.refuse("%d partitions can't become %d: they never get fewer", e.Base.Partitions(), next.Partitions())
	case e.Number == math.MaxUint64:
		return nil, e.refuse("numbers are used up")
	}
	parts := next.Partitions() / e.Base.Partitions()
	j := &Epoch{Number: e.Number + 1, Base: e.Base, Next: next, origin: e.origin.split(parts)}
	j.changed = e.changed.split(parts).clone(j.Partitions())
	j.nextOrigin = j.origin.clone(j.Partitions())
	compare := compareLayouts(e.Base, next)
	for p := range j.Partitions() {
		for i, differs := range compare.at(j.inBase(p), p) {
			if differs {
				j.changed[p*MaxReplicas+i], j.nextOrigin[p*MaxReplicas+i] = j.Number, j.Number
			}
		}
	}
	return j, nil
}

// Commit makes the stable epoch on Next that ends this joint one. Whether that is safe yet,
// MayCommit says.
func (e *Epoch) Commit() (*Epoch, error) {
	changed, err := e.end()
	if err != nil {
		return nil, err
	}
	return &Epoch{Number: e.Number + 1, Base: e.Next, changed: changed, origin: e.nextOrigin}, nil
}

// Abort makes the stable epoch on Base that gives this joint one up, which is always safe. Where
// the move was to cut partitions they are whole again.
func (e *Epoch) Abort() (*Epoch, error) {
	changed, err := e.end()
	if err != nil {
		return nil, err
	}
	parts := e.Next.Partitions() / e.Base.Partitions()
	return &Epoch{Number: e.Number + 1, Base: e.Base, changed: changed.join(parts), origin: e.origin.join(parts)}, nil
}

// end makes the changed table of the epoch that ends a move: of whatever moved the owners in force
// are others again, the old ones or the new ones alone.
func (e *Epoch) end() (marks, error) {
	switch {
	case !e.Joint():
		return nil, e.refuse("no move is under way: there is nothing to commit or abort")
	case e.Number == math.MaxUint64:
		return nil, e.refuse("numbers are used up")
	}
	changed := e.changed.clone(e.Partitions())
	for p := range e.Partitions() {
		for n := 1; n <= MaxReplicas; n++ {
			if e.Moves(p, n) {
				changed[p*MaxReplicas+n-1] = e.Number + 1
			}
		}
	}
	return changed, nil
}

// Follows checks that next may follow this epoch: it is exactly what Begin, Commit or Abort makes
// of it. Whoever accepts a decoded epoch asks first; whether a commit comes too early is for
// MayCommit.
func (e *Epoch) Follows(next *Epoch) error {
	switch {
	case e.Number == math.MaxUint64 || next.Number != e.Number+1:
		return e.refuse("number %d is not the next one", next.Number)
	case next.Joint() == e.Joint():
		return e.refuse("begin a move on a stable epoch, end it on a joint one")
	}
	want, err := e.successor(next)
	if err != nil {
		return err
	}
	cells := want.Partitions() * MaxReplicas
	for _, table := range []struct {
		name      string
		got, want marks
	}{{"changed", next.changed, want.changed}, {"origin", next.origin, want.origin}, {"next origin", next.nextOrigin, want.nextOrigin}} {
		if i := table.got.differ(table.want, cells); i >= 0 {
			return e.refuse("%s of partition %d at N=%d is %d, want %d: propose what Begin, Commit or Abort made", table.name,
				i/MaxReplicas, i%MaxReplicas+1, table.got.cell(i), table.want.cell(i))
		}
	}
	return nil
}

// successor makes the epoch that has the layouts of next.
func (e *Epoch) successor(next *Epoch) (*Epoch, error) {
	switch {
	case next.Joint() && next.Base.Equal(e.Base):
		return e.Begin(next.Next)
	case !next.Joint() && next.Base.Equal(e.Next):
		return e.Commit()
	case !next.Joint() && next.Base.Equal(e.Base):
		return e.Abort()
	}
	return nil, e.refuse("layout %d of the base is not in force here: propose again from this epoch", next.Base.version)
}

func (e *Epoch) refuse(format string, args ...any) error {
	return &SuccessionError{After: e.Number, Reason: fmt.Sprintf(format, args...)}
}
