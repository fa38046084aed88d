package ring

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// operator changes a ring as operators do: one thing at a time, now and then giving up and trying
// the same again.
type operator struct {
	r       *rand.Rand
	members []Member
	version uint64
	again   *Layout // what was given up last
	spare   []Member
}

func newOperator(r *rand.Rand) *operator {
	all := testMembers(r, 14, 1+r.IntN(4))
	n := 1 + r.IntN(6)
	return &operator{r: r, members: slices.Clone(all[:n]), spare: all[n:]}
}

// next makes a layout to move to: with nodes added, removed, replaced, of other weights or zones,
// with longer or shorter lists, in more parts, or the one that was given up.
func (o *operator) next(e *Epoch) *Layout {
	prev := e.Base
	o.version++
	if again := o.again; again != nil && again.Partitions() >= prev.Partitions() && again.Version() > prev.Version() && o.r.IntN(2) == 0 {
		return again
	}
	members := slices.Clone(prev.Members())
	i := o.r.IntN(len(members))
	switch kind := o.r.IntN(7); {
	case kind == 0 && len(o.spare) > 0:
		members = append(members, o.take())
	case kind == 1 && len(members) > 1:
		members = slices.Delete(members, i, i+1)
	case kind == 2 && len(o.spare) > 0:
		members[i] = o.take()
	case kind == 3:
		members[i].Weight = 1 + o.r.Uint32N(5)
	case kind == 4:
		members[i].Zone = fmt.Sprintf("z%d", o.r.IntN(5))
	case kind == 5 && prev.Partitions() < 16:
		l, err := Split(prev, prev.Partitions()<<(1+o.r.IntN(2)), o.version)
		if err != nil {
			panic(err) // the input is ours
		}
		return l
	}
	l, err := Plan(PlanInput{Members: members, Partitions: prev.Partitions(), Replicas: 1 + o.r.IntN(min(MaxReplicas, len(members))),
		Previous: prev, Version: o.version})
	if err != nil {
		panic(err) // the input is ours
	}
	if o.r.IntN(4) == 0 && l.Partitions() < 16 { // cut and moved at once: not by the planner, but nothing forbids it
		l, err = Split(l, 2*l.Partitions(), o.version)
		if err != nil {
			panic(err) // the input is ours
		}
	}
	return l
}

func (o *operator) take() Member {
	m := o.spare[0]
	o.spare = o.spare[1:]
	return m
}

func (o *operator) run(epochs int) history {
	first, err := Plan(PlanInput{Members: o.members, Partitions: 1 << o.r.IntN(3), Replicas: 1 + o.r.IntN(len(o.members))})
	if err != nil {
		panic(err) // the input is ours
	}
	h := history{Genesis(first)}
	for len(h) < epochs {
		if e := h.last(); !e.Joint() {
			h.begin(o.next(e))
			continue
		}
		o.again = nil
		commit := o.r.IntN(5) < 3
		if !commit {
			o.again = h.last().Next
		}
		h.end(commit)
	}
	return h
}

// oracleCells is how finely the oracle cuts the ring: no history cuts it finer.
const oracleCells = 32

func cellToken(c int) Token { return Token(c) << (64 - 5) }

// oracle keeps all owner sets of all epochs, as bits.
type oracle struct {
	h    history
	sets [][oracleCells][MaxReplicas][2]uint32 // by epoch
	last [][oracleCells][MaxReplicas]uint64    // by epoch: when the sets of a cell last changed
}

func newOracle(h history) *oracle {
	o := &oracle{h: h, sets: make([][oracleCells][MaxReplicas][2]uint32, len(h)), last: make([][oracleCells][MaxReplicas]uint64, len(h))}
	bit := make(map[NodeID]uint32)
	set := func(l *Layout, c, n int) (bits uint32) {
		for _, id := range l.Owners(l.PartitionOf(cellToken(c)), n) {
			if _, known := bit[id]; !known {
				bit[id] = 1 << len(bit)
			}
			bits |= bit[id]
		}
		return bits
	}
	for i, e := range h {
		for c := range oracleCells {
			for n := range MaxReplicas {
				sets := &o.sets[i][c][n]
				sets[0] = set(e.Base, c, n+1)
				if sets[1] = sets[0]; e.Joint() {
					sets[1] = set(e.Next, c, n+1)
				}
				for k := 1; k <= i; k++ {
					if o.sets[k][c][n] != o.sets[k-1][c][n] {
						o.last[i][c][n] = uint64(k)
					}
				}
			}
		}
	}
	return o
}

// changed is, by definition, the last epoch at which the sets of a cell differed from the epoch before.
func (o *oracle) changed(i, c, n int) uint64 { return o.last[i][c][n-1] }

// origin is the first epoch of the unbroken run up to i in which this set was an active one.
func (o *oracle) origin(i, c, n, side int) uint64 {
	set := o.sets[i][c][n-1][side]
	for i > 0 && slices.Contains(o.sets[i-1][c][n-1][:], set) {
		i--
	}
	return uint64(i)
}
