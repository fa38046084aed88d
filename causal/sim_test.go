package causal

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The simulation runs one item on several replicas beside an oracle that knows, for each write, the
// full set of writes that its writer had seen. The oracle has no dots, vectors or merge: a replica
// knows a set of writes, a message carries one, and the siblings are the writes of the set that no
// other one in it has seen. After every step the replica and the oracle must agree.

// writeSet is a set of writes, of which a run makes at most 63: bit n stands for request n.
type writeSet uint64

func (s writeSet) has(n int) bool { return s>>n&1 == 1 }

func (s writeSet) list() []int {
	var out []int
	for n := range 64 {
		if s.has(n) {
			out = append(out, n)
		}
	}
	return out
}

// rules are what the design demands; the tests of the oracle take one away at a time.
type rules struct {
	policy      Policy
	keepActor   bool // a restarted or emptied replica goes on with its old actor
	forgetIDs   bool // contexts carry vectors only
	partialRead bool // a context covers versions whose values the read did not return
	noRetries   bool
}

// sound reports whether the oracle's request ids are ours too: lww drops some unseen, and a weakened
// rule shall be caught by the data that it loses or revives.
func (r rules) sound() bool { return r == rules{policy: Siblings} }

type simToken struct {
	ctx  Past
	seen writeSet
}

type simMessage struct {
	to    int
	state State
	known writeSet
}

type simReplica struct {
	clock *Clock
	skew  time.Duration
	actor Actor

	actorDrawn bool

	state, durable      State
	known, durableKnown writeSet
	best, durableBest   Dot // oracle of last-write-wins
}

type simWrite struct {
	token simToken
	write Write
}

type sim struct {
	rules
	rng      *rand.Rand
	now      time.Time
	replicas []*simReplica
	messages []simMessage
	tokens   []simToken
	writes   []simWrite                       // index 0 unused: request 0 is no id
	seen     [64]writeSet                     // what each write's writer had seen
	trace    func(format string, args ...any) // nil unless a failure is run again
	states   []State                          // snapshots for the algebra tests
	problem  string
}

func newSim(seed uint64, r rules) *sim {
	w := &sim{rules: r, rng: newRand(seed), now: time.UnixMilli(1_000_000), writes: make([]simWrite, 1)}
	for range 4 {
		rep := &simReplica{skew: time.Duration(w.rng.IntN(400)) * time.Millisecond}
		rep.clock = NewClock(func() time.Time { return w.now.Add(rep.skew) }, time.Hour, 0)
		rep.clock.Raise(MaxHLC)
		w.replicas = append(w.replicas, rep)
	}
	return w
}

// log renders states lazily: most runs have no reader.
func (w *sim) log(format string, args ...any) {
	if w.trace == nil {
		return
	}
	for i := range args {
		if s, ok := args[i].(State); ok {
			args[i] = show(s)
		}
	}
	w.trace(format, args...)
}

func (w *sim) fail(format string, args ...any) {
	if w.problem == "" {
		w.problem = fmt.Sprintf(format, args...)
	}
}

// siblings are the writes that no other one of the set has seen.
func (w *sim) siblings(known writeSet) []int {
	var replaced writeSet
	for _, n := range known.list() {
		replaced |= w.seen[n]
	}
	return (known &^ replaced).list()
}

func (w *sim) step() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(30)) * time.Millisecond)
	i := w.rng.IntN(len(w.replicas))
	switch k := w.rng.IntN(24); {
	case k < 6:
		w.newPut(i)
	case k < 8:
		w.retry(i)
	case k < 12:
		w.read()
	case k < 18:
		w.deliver()
	case k < 19 && len(w.messages) > 0:
		w.messages = slices.Delete(w.messages, 0, 1)
	case k < 20:
		w.send(i)
	case k < 22:
		w.sync(i)
	case k < 23:
		w.crash(i)
	default:
		w.drop(i)
	}
}

func (w *sim) newPut(i int) {
	if len(w.writes) == 64 {
		return
	}
	var tok simToken
	switch n := len(w.tokens); {
	case n == 0 || w.rng.IntN(4) == 0: // blind
	case w.rng.IntN(2) == 0:
		tok = w.tokens[n-1]
	default: // reused or old
		tok = w.tokens[w.rng.IntN(n)]
	}
	n := len(w.writes)
	w.seen[n] = tok.seen
	w.writes = append(w.writes, simWrite{tok, Write{
		Context: tok.ctx, RequestID: rid(n), Tombstone: w.rng.IntN(3) == 0, Value: fmt.Appendf(nil, "%d", n),
	}})
	w.put(i, n)
}

func (w *sim) retry(i int) {
	if len(w.writes) > 1 && !w.noRetries {
		w.put(i, 1+w.rng.IntN(len(w.writes)-1))
	}
}

func (w *sim) put(i, n int) {
	r, wr := w.replicas[i], w.writes[n].write
	_, known := r.state.Known(wr.RequestID)
	if w.sound() && known != w.oracleKnows(r.known, n) {
		w.fail("replica %d: request %d known is %t in %s", i, n, known, show(r.state))
	}
	if !known {
		if !r.actorDrawn {
			r.actor, r.actorDrawn = Actor(w.rng.Uint64()), true
		}
		h, err := r.clock.NowAfter(max(r.state.MaxHLC(), wr.Context.MaxHLC()))
		if err != nil {
			w.fail("clock: %v", err)
			return
		}
		var v Version
		r.state, v = Mint(w.policy, r.state, r.actor, h, wr)
		r.known |= 1 << n
		r.best = later(r.best, v.Dot)
		w.log("put %d at %d, saw %b -> %s", n, i, w.seen[n], r.state)
	}
	w.check(i)
	w.send(i)
}

func (w *sim) oracleKnows(known writeSet, n int) bool {
	all := known
	for _, x := range known.list() {
		all |= w.seen[x]
	}
	return all.has(n)
}

func later(a, b Dot) Dot {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

// send posts the replica's whole state to all others; messages arrive in any order, or not.
func (w *sim) send(i int) {
	r := w.replicas[i]
	for to := range w.replicas {
		if to != i {
			w.messages = append(w.messages, simMessage{to, r.state, r.known})
		}
	}
}

func (w *sim) deliver() {
	if len(w.messages) == 0 {
		return
	}
	k := w.rng.IntN(len(w.messages))
	m := w.messages[k]
	if w.rng.IntN(4) > 0 { // else it stays and comes again
		w.messages = slices.Delete(w.messages, k, k+1)
	}
	w.apply(m)
}

func (w *sim) apply(m simMessage) {
	r := w.replicas[m.to]
	if w.rng.IntN(2) == 0 {
		r.state = Merge(w.policy, r.state, m.state)
	} else {
		r.state = Merge(w.policy, m.state, r.state)
	}
	r.known |= m.known
	r.best = later(r.best, highest(m.state))
	if err := r.clock.Observe(m.state.MaxHLC()); err != nil {
		w.fail("observe: %v", err)
	}
	w.log("deliver %s to %d -> %s", m.state, m.to, r.state)
	w.check(m.to)
}

func highest(s State) Dot {
	if len(s.Versions) == 0 {
		return Dot{}
	}
	return s.Versions[len(s.Versions)-1].Dot
}

func (w *sim) read() {
	var s State
	var known writeSet
	for _, r := range w.replicas {
		if w.rng.IntN(2) == 0 {
			s, known = Merge(w.policy, s, r.state), known|r.known
		}
	}
	tok := simToken{ctx: s.Context()}
	siblings := w.siblings(known)
	if w.partialRead && len(siblings) > 1 {
		siblings = siblings[:1]
	}
	for _, n := range siblings {
		tok.seen |= 1<<n | w.seen[n]
	}
	if w.forgetIDs {
		tok.ctx = NewPast(tok.ctx.Vector(), nil)
	}
	if got := idSet(tok.ctx.Replaced()); w.sound() && got != tok.seen {
		w.fail("context names %v, want %v", got.list(), tok.seen.list())
	}
	w.log("read -> %s, context has seen %b", s, tok.seen)
	w.tokens = append(w.tokens, tok)
}

func idSet(ids []RequestID) (s writeSet) {
	for _, id := range ids {
		s |= 1 << ridNumber(id)
	}
	return s
}

func (w *sim) sync(i int) {
	r := w.replicas[i]
	r.durable, r.durableKnown, r.durableBest = r.state, r.known, r.best
}

// crash loses what was not synced. The clock goes on: its bound is durable.
func (w *sim) crash(i int) {
	r := w.replicas[i]
	r.state, r.known, r.best = r.durable, r.durableKnown, r.durableBest
	r.actorDrawn = r.actorDrawn && w.keepActor
	w.log("crash %d -> %s", i, r.state)
	w.check(i)
}

// drop removes the record, as after a handoff. It may have been the only copy of something.
func (w *sim) drop(i int) {
	r := w.replicas[i]
	w.send(i)
	r.state, r.known, r.best = State{}, 0, Dot{}
	r.actorDrawn = r.actorDrawn && w.keepActor
	w.sync(i)
	w.log("drop %d", i)
}

// check compares a replica with the oracle.
func (w *sim) check(i int) {
	r := w.replicas[i]
	w.states = append(w.states, r.state)
	if w.policy == LastWriteWins {
		if got := highest(r.state); len(r.state.Versions) > 1 || got != r.best {
			w.fail("replica %d: has %v, want %v", i, got, r.best)
		}
		return
	}
	if got, want := requests(r.state), w.siblings(r.known); !slices.Equal(got, want) {
		w.fail("replica %d: has %v, want %v", i, got, want)
	}
}

// heal exchanges all states both ways until everybody has everything.
func (w *sim) heal() {
	for range 2 {
		for i := range w.replicas {
			w.send(i)
		}
		w.rng.Shuffle(len(w.messages), func(i, j int) {
			w.messages[i], w.messages[j] = w.messages[j], w.messages[i]
		})
		for _, m := range w.messages {
			w.apply(m)
		}
		w.messages = nil
	}
	for i, r := range w.replicas {
		w.check(i)
		if !sameState(r.state, w.replicas[0].state) {
			w.fail("replicas 0 and %d differ: %s and %s", i, show(w.replicas[0].state), show(r.state))
		}
		if r.state.Digest() != w.replicas[0].state.Digest() {
			w.fail("replicas 0 and %d differ in their digests", i)
		}
	}
}

func (w *sim) run(steps int) {
	for range steps {
		if w.problem == "" {
			w.step()
		}
	}
	if w.problem == "" {
		w.heal()
	}
}

func simRuns() uint64 {
	if testing.Short() {
		return 50
	}
	return 400
}

func TestReplicasHoldWhatTheOracleSays(t *testing.T) {
	for _, p := range []Policy{Siblings, LastWriteWins} {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			for seed := range simRuns() {
				w := newSim(seed, rules{policy: p})
				if w.run(20 + int(seed%100)); w.problem != "" {
					again := newSim(seed, rules{policy: p})
					again.trace = t.Logf
					again.run(20 + int(seed%100))
					t.Fatalf("seed %d: %s", seed, w.problem)
				}
			}
		})
	}
}

// TestOracleHasTeeth takes rules away: each time the simulation must come upon a lost write or a zombie.
func TestOracleHasTeeth(t *testing.T) {
	for name, r := range map[string]rules{
		"an actor goes on after its record was lost": {keepActor: true, noRetries: true},
		"contexts without request ids":               {forgetIDs: true},
		"contexts that cover values not returned":    {partialRead: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(5000) {
				w := newSim(seed, r)
				if w.run(100); w.problem != "" {
					return
				}
			}
			t.Fatal("nothing went wrong")
		})
	}
}

// TestMergeIsAJoin holds the algebra against states that replicas have really had.
func TestMergeIsAJoin(t *testing.T) {
	for _, p := range []Policy{Siblings, LastWriteWins} {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			for seed := range simRuns() / 4 {
				w := newSim(seed, rules{policy: p})
				w.run(80)
				states, rng := w.states, newRand(seed)
				for range 100 {
					a, b, c := pick(rng, states), pick(rng, states), pick(rng, states)
					checkJoin(t, p, a, b, c)
				}
			}
		})
	}
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

func checkJoin(t *testing.T, p Policy, a, b, c State) {
	t.Helper()
	ab, ba := Merge(p, a, b), Merge(p, b, a)
	if !sameState(ab, ba) {
		t.Fatalf("not commutative:\na %s\nb %s\n%s\n%s", show(a), show(b), show(ab), show(ba))
	}
	if aa := Merge(p, a, a); !sameState(aa, a) {
		t.Fatalf("not idempotent: %s became %s", show(a), show(aa))
	}
	if again := Merge(p, ab, b); !sameState(again, ab) {
		t.Fatalf("not absorbing: %s and %s", show(ab), show(again))
	}
	left, right := Merge(p, ab, c), Merge(p, a, Merge(p, b, c))
	if !sameState(left, right) {
		t.Fatalf("not associative:\na %s\nb %s\nc %s\n%s\n%s", show(a), show(b), show(c), show(left), show(right))
	}
	checkCanonical(t, left)
}
