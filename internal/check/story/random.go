package story

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/history"
)

// Random is the history of a small store that keeps its promises: three replicas of each item which mint, merge and
// answer as the real ones do, quorums at 2, writes that reach some replicas late, retries at another coordinator, and
// replies that are lost. One item is a register, which session 0 alone writes.
func Random(seed uint64, policy history.Policy, ops int) *history.Run {
	g := &generator{
		rng: rand.New(rand.NewPCG(seed, 0)), policy: causal.Siblings, items: map[history.Key]*replicas{},
		run: &history.Run{Buckets: map[string]history.Bucket{Key.Bucket: {Policy: policy, N: owners}}},
	}
	if policy == history.LWW {
		g.policy = causal.LastWriteWins
	}
	for s := range sessions {
		g.at(g.soon(), func() { g.next(s, ops/sessions, map[history.Key]seen{}) })
	}
	for len(g.events) > 0 {
		i := 0 // few are ever under way
		for j := range g.events {
			if g.events[j].at < g.events[i].at {
				i = j
			}
		}
		e := g.events[i]
		g.events = slices.Delete(g.events, i, i+1)
		g.now = e.at
		e.do()
	}
	g.finish()
	return g.run
}

const (
	owners   = 3
	quorum   = 2
	sessions = 5
)

type generator struct {
	rng    *rand.Rand
	policy causal.Policy
	now    time.Duration
	events []event
	items  map[history.Key]*replicas
	ids    uint64
	run    *history.Run
	index  int
}

type event struct {
	at time.Duration
	do func()
}

// replicas are the copies of one item, each with an actor of its own.
type replicas struct {
	states [owners]causal.State
	actors [owners]causal.Actor
}

type seen struct {
	past causal.Past
	saw  []history.WriteID
}

func (g *generator) at(t time.Duration, do func()) { g.events = append(g.events, event{t, do}) }

func (g *generator) soon() time.Duration {
	return g.now + time.Duration(1+g.rng.Int64N(int64(20*time.Millisecond)))
}

func (g *generator) item(k history.Key) *replicas {
	if g.items[k] == nil {
		r := &replicas{}
		for i := range r.actors {
			r.actors[i] = causal.Actor(g.rng.Uint64())
		}
		g.items[k] = r
	}
	return g.items[k]
}

// next is one session's next operation, of so many that are left.
func (g *generator) next(session, left int, last map[history.Key]seen) {
	if left == 0 {
		return
	}
	k := history.Key{Bucket: Key.Bucket, Partition: fmt.Sprintf("p%d", g.rng.IntN(3))}
	register := session == 0 || g.rng.IntN(4) == 0
	if register {
		k.Partition = "register"
	}
	op := &history.Op{Index: g.index, Session: session, Key: k, Start: g.now, Tries: 1, Quorum: quorum, Strict: true, Outcome: history.Done}
	g.index++
	end := func() {
		op.End = g.now
		g.run.Ops = append(g.run.Ops, *op)
		g.at(g.soon(), func() { g.next(session, left-1, last) })
	}
	from, knows := last[k]
	switch what := g.rng.IntN(10); {
	case register && (session != 0 || !knows), what < 4:
		op.Kind = history.Read
		g.at(g.soon(), func() { g.read(op, last, end) })
	case what == 4 && !register:
		op.Kind, op.CoversAll = history.Delete, true
		g.at(g.soon(), func() {
			past := g.join(g.item(k)).Context()
			g.at(g.soon(), func() { g.write(op, seen{past: past}, last, end) })
		})
	case what == 5 && knows && !register:
		op.Kind = history.Delete
		g.at(g.soon(), func() { g.write(op, from, last, end) })
	default:
		if !register && g.rng.IntN(3) == 0 {
			from = seen{}
		}
		op.Kind, op.Value = history.Put, fmt.Sprintf("v%d", op.Index)
		g.at(g.soon(), func() { g.write(op, from, last, end) })
	}
}

// join reads at a quorum and leaves the result there.
func (g *generator) join(r *replicas) causal.State {
	var s causal.State
	asked := g.rng.Perm(owners)[:quorum]
	for _, i := range asked {
		s = causal.Merge(g.policy, s, r.states[i])
	}
	for _, i := range asked {
		r.states[i] = s
	}
	return s
}

func (g *generator) read(op *history.Op, last map[history.Key]seen, end func()) {
	s := g.join(g.item(op.Key))
	if s.Live() {
		op.Versions = versionsOf(s)
		from := seen{past: s.Context()}
		for _, v := range op.Versions {
			from.saw = append(from.saw, v.Write)
		}
		last[op.Key] = from
	} else {
		last[op.Key] = seen{}
	}
	g.at(g.soon(), end)
}

// write mints, spreads, and answers or not.
func (g *generator) write(op *history.Op, from seen, last map[history.Key]seen, end func()) {
	op.Saw, op.Blind = from.saw, len(from.saw) == 0 && !op.CoversAll
	g.ids++
	w := causal.Write{Context: from.past, Value: []byte(op.Value), Tombstone: op.Kind == history.Delete, RequestID: g.requestID()}
	op.Write = history.IDOf(w.RequestID)
	delete(last, op.Key)
	r := g.item(op.Key)
	switch luck := g.rng.IntN(20); {
	case luck == 0:
		op.Outcome = history.Refused
		g.at(g.soon(), end)
		return
	case luck < 3: // it reaches one replica, at some time
		op.Outcome = history.Unknown
		g.at(g.soon()+time.Duration(g.rng.Int64N(int64(100*time.Millisecond))), func() { g.mint(r, w, g.rng.IntN(owners), 1) })
		g.at(g.soon(), end)
		return
	case luck < 6: // the first reply is lost
		op.Tries = 2
		g.mint(r, w, g.rng.IntN(owners), 1)
	}
	g.at(g.soon(), func() {
		c := g.rng.IntN(owners)
		dot, alone := g.mint(r, w, c, quorum)
		op.Dot, op.Acks = dot, quorum
		if alone {
			last[op.Key] = seen{r.states[c].Context(), []history.WriteID{op.Write}}
		}
		g.at(g.soon(), end)
	})
}

func (g *generator) requestID() (id causal.RequestID) {
	binary.BigEndian.PutUint64(id[8:], g.ids)
	binary.BigEndian.PutUint64(id[:8], uint64(g.now.Milliseconds()+1)<<16)
	id[6], id[8] = 0x70, 0x80
	return id
}

// mint makes a version on replica c, unless it knows the write, and spreads c's state to so many at once and to the
// others late. It returns the dot, zero for a write that was replaced, and whether the version stands alone.
func (g *generator) mint(r *replicas, w causal.Write, c, reach int) (dot causal.Dot, alone bool) {
	v, known := r.states[c].Known(w.RequestID)
	switch {
	case !known:
		skew := time.Duration(c) * 5 * time.Millisecond
		h := max(r.states[c].MaxHLC(), w.Context.MaxHLC(), causal.HLC(g.now+skew)) + 1
		state, minted := causal.Mint(g.policy, r.states[c], r.actors[c], h, w)
		r.states[c], dot = state, minted.Dot
	case v != nil:
		dot = v.Dot
	}
	state := r.states[c]
	for n, i := range g.rng.Perm(owners) {
		merge := func() { r.states[i] = causal.Merge(g.policy, r.states[i], state) }
		switch {
		case n < reach || i != c && reach > 1 && g.rng.IntN(2) == 0:
			merge()
		case reach > 1 || g.rng.IntN(2) == 0:
			g.at(g.now+time.Duration(g.rng.Int64N(int64(time.Second))), merge)
		}
	}
	return dot, len(state.Versions) == 1 && state.Versions[0].Dot == dot
}

func versionsOf(s causal.State) (out []history.Version) {
	for _, v := range s.Versions {
		out = append(out, history.Version{Write: history.IDOf(v.RequestID), Dot: v.Dot, Value: string(v.Value), Tombstone: v.Tombstone})
	}
	return out
}

func (g *generator) finish() {
	for k, r := range g.items {
		var s causal.State
		for _, o := range r.states {
			s = causal.Merge(g.policy, s, o)
		}
		f := history.Final{Key: k}
		if s.Live() {
			f.Read = versionsOf(s)
		}
		for i := range owners {
			f.Copies = append(f.Copies, history.Copy{Node: fmt.Sprintf("n%d", i+1), Owner: true, State: causal.AppendState(nil, s), Versions: versionsOf(s)})
		}
		g.run.Finals = append(g.run.Finals, f)
	}
	slices.SortFunc(g.run.Finals, func(a, b history.Final) int { return cmp.Compare(a.Key.Partition, b.Key.Partition) })
}
