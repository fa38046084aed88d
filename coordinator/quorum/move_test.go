package quorum

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/starling-db/starling/causal"
)

// TestNothingIsMissedInAMove holds the machines against what is promised, rather than against what they are made of:
// writes are acknowledged before and in a move, reads come in it and after it, on the next layout or, when it was given
// up, on the old one. A read with R+W>N returns all that was acknowledged before it, and, with 2R>N, all that a
// read in the move has returned. Owners fail as they like; those of the next layout pull as the commit asks for.
func TestNothingIsMissedInAMove(t *testing.T) {
	seeds := uint64(20000)
	if raced {
		seeds /= 10
	}
	done := 0
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 9))
		w := newMoveWorld(t, rng, seed)
		done += w.play()
	}
	if done < int(seeds) {
		t.Fatalf("%d requests in %d worlds succeeded: not worth much", done, seeds)
	}
}

// moveWorld is one item on the owners of a move: sets of writes, which merge by union.
type moveWorld struct {
	t        *testing.T
	rng      *rand.Rand
	seed     uint64
	move     move
	r, w     [2]int   // of each side
	holds    []Places // by owner: the writes that it has
	promised Places   // acknowledged, or returned by a read
	done     int
	failing  int // one message in so many fails
}

func newMoveWorld(t *testing.T, rng *rand.Rand, seed uint64) *moveWorld {
	m := move{both: rng.IntN(4)}
	m.base, m.next = max(1-m.both, rng.IntN(6-m.both)), max(1-m.both, rng.IntN(6-m.both))
	w := &moveWorld{t: t, rng: rng, seed: seed, move: m, holds: make([]Places, m.owners()), failing: 2 + rng.IntN(10)}
	for i, side := range m.sides(0, 0) {
		w.r[i] = side.N/2 + 1 + rng.IntN(side.N-side.N/2)
		w.w[i] = min(side.N, side.N-w.r[i]+1+rng.IntN(2))
	}
	return w
}

// play returns how many requests succeeded.
func (w *moveWorld) play() int {
	base, next := w.alone(0), w.alone(1)
	for write := range 2 {
		w.put(write, w.move.sides(w.w[0], 0)[:1])
	}
	for write := 2; write < 5; write++ {
		if w.rng.IntN(2) == 0 {
			w.put(write, w.move.sides(w.w[0], w.w[1]))
		}
		if w.rng.IntN(2) == 0 {
			w.get(GetPlan{Candidates: w.move.owners(), Owners: w.move.owners(), Sides: w.move.sides(w.r[0], w.r[1])})
		}
	}
	if w.rng.IntN(2) == 0 {
		w.get(base)
		return w.done
	}
	w.pull()
	w.get(next)
	return w.done
}

// alone is a read of one side. Its machine knows one owner set whose places are the side's, whatever the numbers are.
func (w *moveWorld) alone(side int) GetPlan {
	return GetPlan{Candidates: w.move.owners(), Owners: w.move.owners(), Sides: w.move.sides(w.r[0], w.r[1])[side : side+1]}
}

// pull: W owners of the next layout each take what N-W+1 owners of the old one have.
func (w *moveWorld) pull() {
	sides := w.move.sides(0, 0)
	base, next := w.shuffled(sides[0].Places), w.shuffled(sides[1].Places)
	for _, owner := range next[:w.w[1]] {
		for _, source := range base[:sides[0].N-w.w[0]+1] {
			w.holds[owner] |= w.holds[source]
		}
		w.rng.Shuffle(len(base), func(i, j int) { base[i], base[j] = base[j], base[i] })
	}
}

func (w *moveWorld) shuffled(set Places) []int {
	var list []int
	for place := range w.holds {
		if set.Has(place) {
			list = append(list, place)
		}
	}
	w.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// put writes to the owners of the sides until it is decided, or given up with messages on their way that still arrive.
func (w *moveWorld) put(write int, sides []Side) {
	up := slices.Repeat([]bool{true}, w.move.owners())
	for place := range up {
		up[place] = slices.ContainsFunc(sides, func(s Side) bool { return s.Places.Has(place) })
	}
	p := NewPut(PutPlan{N: len(up), Sides: sides, Up: up, Self: slices.Index(up, true), Strict: true})
	sends := p.Start()
	w.rng.Shuffle(len(sends), func(i, j int) { sends[i], sends[j] = sends[j], sends[i] })
	for _, s := range sends {
		switch w.rng.IntN(w.failing) {
		case 0:
			p.Fail(s.Place)
		case 1: // lost, or not there yet
		default:
			w.holds[s.Place] = w.holds[s.Place].With(write)
			p.Ack(s.Place)
		}
		if p.Verdict() == Won {
			w.promised = w.promised.With(write)
			w.done++
			return
		}
	}
}

// get reads, and what it returns holds all that was promised.
func (w *moveWorld) get(plan GetPlan) {
	g := NewGet(plan)
	todo := g.Start()
	states := make([]Places, plan.Candidates)
	full := make([]bool, plan.Candidates)
	for {
		switch g.Verdict() {
		case ReadLost:
			return
		case Conflict:
			if !g.Joined() {
				todo = append(todo, g.Join(digestOf(w.result(g, states, full)))...)
				continue
			}
		case Agreed, Stable:
			if result := w.result(g, states, full); w.promised&^result != 0 {
				w.t.Fatalf("seed %d, move %v, R %v, W %v: read %b, promised %b; held %b", w.seed, w.move, w.r, w.w, result, w.promised, w.holds)
			} else {
				w.promised |= result
				w.done++
			}
			return
		}
		i := w.rng.IntN(len(todo))
		a := todo[i]
		todo = slices.Delete(todo, i, i+1)
		fails := w.rng.IntN(w.failing) == 0
		switch {
		case a.Kind == WriteBack && fails:
			todo = append(todo, g.WriteFailed(a.Place)...)
		case a.Kind == WriteBack:
			w.holds[a.Place] |= w.result(g, states, full)
			todo = append(todo, g.Wrote(a.Place)...)
		case fails:
			todo = append(todo, g.Fail(a.Place)...)
		default:
			if a.Kind == ReadFull && g.Verdict() == ReadPending {
				states[a.Place], full[a.Place] = w.holds[a.Place], true
			}
			todo = append(todo, g.Replied(a.Place, a.Kind == ReadFull, digestOf(w.holds[a.Place]))...)
		}
	}
}

// result is the join of the states that count, as the shell makes it.
func (w *moveWorld) result(g *Get, states []Places, full []bool) (join Places) {
	for place, ok := range full {
		if ok && (g.Joined() || g.Counts(place)) {
			join |= states[place]
		}
	}
	return join
}

func digestOf(writes Places) causal.Digest { return causal.Digest{byte(writes)} }
