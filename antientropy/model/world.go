package model

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/starling-db/starling/causal"
)

const maxWrites = 60 // a set of writes is one word

// write is one put or delete of a client, over all its retries, with the oracle's knowledge of it.
type write struct {
	item      int
	context   causal.Past
	tombstone bool
	seen      set // every write that its writer had seen, as contexts carry it on
	id        causal.RequestID
	drawn     causal.HLC // the client's estimate of server time
	acked     bool
}

// token is what a read gave a client.
type token struct {
	context causal.Past
	seen    set
}

// attempt is one request for a write, at one coordinator.
type attempt struct {
	write       int
	coordinator int
	process     int
	until       int // no acknowledgement counts later
	counted     set // owners that have it, or have a stand-in
	self        int // whom the coordinator's own copy counts for
	unsynced    bool
}

// mode is what differs from run to run besides the steps.
type mode struct {
	memory   bool // writes are acknowledged before they are synced
	parallel bool // the coordinator sends while its own copy syncs
	sloppy   bool
	quorum   int // W
	skews    [guardians]int
}

func newMode(rng *rand.Rand) mode {
	m := mode{memory: rng.IntN(3) == 0, parallel: rng.IntN(3) == 0, sloppy: rng.IntN(3) > 0, quorum: 1 + rng.IntN(2)}
	spread := []int{1, 4, 40}[rng.IntN(3)]
	for i := range m.skews {
		m.skews[i] = rng.IntN(spread)
	}
	return m
}

// world is one run.
type world struct {
	rules    Rules
	mode     mode
	now      int
	nodes    [guardians]node
	messages []message
	writes   []write
	attempts []attempt
	tokens   [items][]token
	actors   causal.Actor
	ids      int

	// What gossip knows of everybody: bounds of clocks, the watermark and the purge level.
	remembered            [guardians]causal.HLC
	watermark, purgeLevel causal.HLC
	// committed are the processes that took part in the round of the present watermark.
	committed [guardians]int

	round     round
	exchanges [len(pairs)]exchange

	purged set // writes whose tombstone was purged somewhere
	gone   set // what writes had seen whose tombstone or past was

	lost   set // writes that an owner lost without notice and that have not come back
	lostAt int

	stats   Stats
	problem string
	trace   func(string)
}

// Stats says what a run did, so that a test can tell whether it proves anything.
type Stats struct {
	Acked, Rounds, Voided, Tombstones, Pasts, Rebuilt, Refused, Unnoticed, LostItems int
}

func (s *Stats) add(o Stats) {
	s.Acked += o.Acked
	s.Rounds += o.Rounds
	s.Voided += o.Voided
	s.Tombstones += o.Tombstones
	s.Pasts += o.Pasts
	s.Rebuilt += o.Rebuilt
	s.Refused += o.Refused
	s.Unnoticed += o.Unnoticed
	s.LostItems += o.LostItems
}

func newWorld(r Rules, m mode) *world {
	w := &world{rules: r, mode: m, now: 1000, ids: guardians}
	for i := range w.nodes {
		w.nodes[i] = node{up: true, id: i, skew: m.skews[i]}
	}
	return w
}

func (w *world) fail(format string, args ...any) {
	if w.problem == "" {
		w.problem = fmt.Sprintf(format, args...)
		w.log("VIOLATION %s", w.problem)
	}
}

// log renders lazily: most runs have no reader.
func (w *world) log(format string, args ...any) {
	if w.trace == nil {
		return
	}
	for i, a := range args {
		switch a := a.(type) {
		case []causal.Version:
			args[i] = w.show(a)
		case causal.HLC:
			args[i] = showHLC(a)
		case set:
			args[i] = showNodes(a)
		}
	}
	w.trace(fmt.Sprintf(format, args...))
}

func showHLC(h causal.HLC) string {
	if h.Counter() == 0 {
		return fmt.Sprint(h.Millis())
	}
	return fmt.Sprintf("%d/%d", h.Millis(), h.Counter())
}

func showNodes(s set) string {
	var b strings.Builder
	for i, name := range names {
		if s.has(i) {
			b.WriteString(name)
		}
	}
	return "{" + b.String() + "}"
}

func (w *world) show(vs []causal.Version) string {
	var parts []string
	for _, v := range vs {
		kind := ""
		if v.Tombstone {
			kind = "T"
		}
		s := fmt.Sprintf("w%d%s@%d:%s", number(v.RequestID), kind, v.Dot.Actor, showHLC(v.Dot.HLC))
		if !v.Past.IsZero() {
			var past []string
			for _, d := range v.Past.Vector() {
				past = append(past, fmt.Sprintf("%d:%s", d.Actor, showHLC(d.HLC)))
			}
			for _, id := range v.Past.Replaced() {
				past = append(past, fmt.Sprintf("w%d", number(id)))
			}
			s += "[" + strings.Join(past, " ") + "]"
		}
		parts = append(parts, s)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// requestID names write n; number is its inverse. The time in it plays no part in merges.
func requestID(n int) causal.RequestID { return causal.RequestID{15: byte(n + 1)} }

func number(id causal.RequestID) int { return int(id[15]) - 1 }
