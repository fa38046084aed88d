// Package planted puts bugs into the database, one at a time, and has the simulation find them: a checker that has
// never failed proves nothing.
//
// The bugs are edits of the source, applied to copies when the simulation is built for this purpose (go build
// -overlay). What is shipped has neither the bugs nor switches for them.
package planted

// Bug is one that can be switched on.
type Bug struct {
	Name string
	// What the database does then, and which rule that breaks.
	What string
	// Seed has caught it. It is tried first, so that a run over all bugs is quick.
	Seed uint64
	// Test finds it, for it does harm only in rounds and once something is purged; empty: TestSeeds does.
	Test string
}

// The tests that find what seeds don't come upon.
const (
	deletes = "TestDeletedStaysDeleted"
	floors  = "TestFloorsAreTrue"
)

// Bugs are all there are.
var Bugs = []Bug{
	{Name: "ack-before-fsync", What: "a write is acknowledged before it is on disk", Seed: 29},
	{Name: "ignore-fsync-error", What: "an fsync that failed is taken to have worked", Seed: 44},
	{Name: "drop-hints", What: "one hint in a hundred is removed without being sent", Seed: 2},
	{Name: "delete-batch-on-error", What: "a batch of hints is removed although some of it was not taken", Seed: 10},
	{Name: "hint-overwrites", What: "a hint replaces what its owner holds instead of being merged", Seed: 2},
	{Name: "keep-actor-over-restart", What: "an item keeps its actor over a restart that may have lost writes", Seed: 56},
	{Name: "keep-actor-after-drop", What: "an item gets its old actor back after a handoff dropped the record", Seed: 15},
	{Name: "count-fallback-twice", What: "one fallback counts as two replicas", Seed: 2},
	{Name: "fallback-for-strict", What: "a fallback counts towards a strict W", Seed: 1},
	{Name: "break-prefix-closure", What: "replicas get a new version without its siblings", Seed: 22},
	{Name: "context-of-unseen", What: "a put's context covers siblings that its writer has not seen", Seed: 1},
	{Name: "forget-replaced-ids", What: "the request ids of replaced versions are forgotten", Seed: 1},
	{Name: "skip-write-back", What: "a quorum read answers before its result is on a quorum", Seed: 22},
	{Name: "lww-by-hlc", What: "last write wins by the clock alone: on a tie each replica keeps its own", Seed: 34},
	{Name: "settle-changed-hint", What: "a hint whose item changed while it was sent is removed", Seed: 36},
	{Name: "purge-by-wall-clock", What: "tombstones are purged when they are old, whoever has not seen them", Test: deletes},
	{Name: "floor-from-gossip", What: "an owner takes its floor from what it hears of others", Test: deletes},
	{Name: "no-floors", What: "floors and purge levels take no part in merges", Test: deletes},
	{Name: "skip-tree-update", What: "one write in fifty does not change its leaf", Seed: 1},
	{Name: "round-without-down-member", What: "a round goes on without a guardian that is down", Test: floors},
	{Name: "exchange-before-attest", What: "a round compares owners first, and then has guardians promise", Test: floors},
	{Name: "purge-at-present-watermark", What: "owners purge up to the round that has just ended, not to the one before it", Test: floors},
	{Name: "partial-round-is-full", What: "a round raises floors although two owners could not be compared", Test: floors},
}

// edit is a change of one source file: the text before, which must be there exactly once, and after.
type edit struct {
	file, old, new string
}

// edits plant all bugs at once; planted.Is tells which one is switched on.
var edits = []edit{
	{
		"storage/purge.go",
		"	return causal.PurgeBefore(c.PurgeLevel, clock.MaxOffset())\n",
		"	if planted.Is(`purge-by-wall-clock`) {\n		c.PurgeLevel = clock.Current()\n	}\n	return causal.PurgeBefore(c.PurgeLevel, clock.MaxOffset())\n",
	},
	{
		"node/round.go",
		"		case <-n.purges:\n",
		"		case <-n.purges:\n		case <-planted.Every(`purge-by-wall-clock`):\n",
	},
	{
		"node/vouch.go",
		"	changed := next != *c\n",
		"	if planted.Is(`floor-from-gossip`) {\n		next.Floor, next.Rebuilding = next.PurgeLevel, false\n	}\n	changed := next != *c\n",
	},
	{
		"causal/merge.go",
		"	return v.Dot.HLC <= s.PurgeLevel && own.Floor < s.PurgeLevel",
		"	return v.Dot.HLC <= s.PurgeLevel && own.Floor < s.PurgeLevel && !planted.Is(`no-floors`)",
	},
	{
		"storage/tree.go",
		"	for i := range b.leaves {\n		c := &b.leaves[i]\n",
		"	if planted.OneIn(`skip-tree-update`, 50) {\n		b.leaves = nil\n	}\n	for i := range b.leaves {\n		c := &b.leaves[i]\n",
	},
	{
		"antientropy/rounds.go",
		"		if !up {\n			round.Attested(",
		"		if !up && planted.Is(`round-without-down-member`) {\n			round.nodes[id] = 1\n		} else if !up {\n			round.Attested(",
	},
	{
		"antientropy/rounds.go",
		"	each(guardians, func(id ring.NodeID) func() {\n		a, err :=",
		"	type place struct {\n		a, b ring.NodeID\n		n    int\n	}\n	early := make(map[place]error)\n" +
			"	if planted.Is(`exchange-before-attest`) {\n		first := NewRound(round.Through, lead.Parts)\n" +
			"		for _, id := range first.Guardians() {\n			first.nodes[id] = 1\n		}\n" +
			"		for _, pair := range first.Pairs() {\n			_, early[place{pair.A, pair.B, pair.N}] = r.o.Peer.Compare(ctx, pair)\n		}\n	}\n" +
			"	each(guardians, func(id ring.NodeID) func() {\n		a, err :=",
	},
	{
		"antientropy/rounds.go",
		"		doubtful, err := r.o.Peer.Compare(ctx, pair)\n",
		"		var doubtful []int\n		var err error\n		switch {\n		case planted.Is(`exchange-before-attest`):\n" +
			"			err = early[place{pair.A, pair.B, pair.N}]\n" +
			"		case planted.Is(`round-without-down-member`) && !(r.o.Up(pair.A) && r.o.Up(pair.B)):\n" +
			"		default:\n			doubtful, err = r.o.Peer.Compare(ctx, pair)\n		}\n",
	},
	{
		"antientropy/round.go",
		"		case err != nil:\n			p.off(\"two owners",
		"		case err != nil && !planted.Is(`partial-round-is-full`):\n			p.off(\"two owners",
	},
	{
		"node/round.go",
		"		return *c != before\n",
		"		if planted.Is(`purge-at-present-watermark`) {\n			c.PurgeLevel = through\n		}\n		return *c != before\n",
	},
	{
		"storage/commit.go",
		"	if c == nil {\n		return nil\n	}\n	select {",
		"	if c == nil || planted.Is(`ack-before-fsync`) {\n		return nil\n	}\n	select {",
	},
	{
		"storage/commit.go",
		"	if w.c == nil {\n		f(nil)",
		"	if w.c == nil || planted.Is(`ack-before-fsync`) {\n		f(nil)",
	},
	{
		"storage/freeze.go",
		"	err := do()\n	if err == nil {",
		"	err := do()\n	if err == nil || op == `sync` && planted.Is(`ignore-fsync-error`) {",
	},
	{
		"hinted/pass.go",
		"		case !owed:\n			gone = append(gone, storage.Settlement{Hint: hints[i]})",
		"		case !owed || planted.OneIn(`drop-hints`, 100):\n			gone = append(gone, storage.Settlement{Hint: hints[i], Sent: state.Digest(), Drop: !p.o.Owns(hints[i].Key)})",
	},
	{
		"hinted/pass.go",
		"		if errs[i] == nil {\n			taken",
		"		if errs[i] == nil || planted.Is(`delete-batch-on-error`) {\n			taken",
	},
	{"storage/merge.go", "type Merge struct {", "type Merge struct {\n	Overwrite bool\n"},
	{
		"storage/merge.go",
		"	merged := s.join(it, m)\n",
		"	merged := s.join(it, m)\n	if m.Overwrite {\n		merged = m.State\n	}\n",
	},
	{"coordinator/messages.go", "type WriteRequest struct {", "type WriteRequest struct {\n	Handoff bool\n"},
	{
		"node/serve_peers.go",
		"		out.N, out.Policy = int(h.GetN()), policyOf(h.GetConflict())",
		"		out.N, out.Policy = int(h.GetN()), policyOf(h.GetConflict())\n		out.Handoff = planted.Is(`hint-overwrites`)",
	},
	{
		"node/replica.go",
		"			N: req.N, Fresh: req.Fresh, Sync: req.Sync, Epoch: req.Epoch,\n		})",
		"			N: req.N, Fresh: req.Fresh, Sync: req.Sync, Epoch: req.Epoch, Overwrite: req.Handoff,\n		})",
	},
	{
		"storage/put.go",
		"	if it.new.boot != s.boot {",
		"	if it.new.boot != s.boot && it.new.actor != 0 && planted.Is(`keep-actor-over-restart`) {\n		it.new.boot = s.boot\n	}\n" +
			"	if kept := planted.Kept(s, string(AppendKey(nil, p.Key))); it.new.boot != s.boot && kept != 0 {\n" +
			"		it.new.boot, it.new.actor = s.boot, causal.Actor(kept)\n	}\n" +
			"	defer func() { planted.Keep(s, string(AppendKey(nil, p.Key)), uint64(it.new.actor)) }()\n" +
			"	if it.new.boot != s.boot {",
	},
	{
		"coordinator/quorum/put.go",
		"			count.Fallbacks++\n		case p.has",
		"			count.Fallbacks++\n			if planted.Is(`count-fallback-twice`) {\n				count.Received++\n			}\n		case p.has",
	},
	{
		"coordinator/quorum/put.go",
		"	if p.Strict {\n		return nil",
		"	if p.Strict && !planted.Is(`fallback-for-strict`) {\n		return nil",
	},
	{
		"coordinator/put.go",
		"		if s.For != s.Place {\n			write.HintFor",
		"		if planted.Is(`break-prefix-closure`) && !r.minted.Repeated {\n" +
			"			write.State = causal.State{Versions: []causal.Version{r.minted.Version}}\n		}\n" +
			"		if s.For != s.Place {\n			write.HintFor",
	},
	{
		"node/write.go",
		"	if len(res.State.Versions) == 1 && res.State.Versions[0].Dot == res.Version.Dot {",
		"	if len(res.State.Versions) == 1 && res.State.Versions[0].Dot == res.Version.Dot || planted.Is(`context-of-unseen`) {",
	},
	{
		"causal/mint.go",
		"		v.Past = w.Context.before(v.Dot, v.RequestID)",
		"		v.Past = w.Context.before(v.Dot, v.RequestID)\n		if planted.Is(`forget-replaced-ids`) {\n			v.Past = NewPast(v.Past.Vector(), nil)\n		}",
	},
	{
		"coordinator/get.go",
		"		case quorum.Conflict:",
		"		case quorum.Conflict:\n			if planted.Is(`skip-write-back`) {\n				r.join = r.joined()\n				return nil\n			}",
	},
	{
		"causal/merge.go",
		"	return a.Dot.Compare(b.Dot)\n}\n\n// only",
		"	if a.Dot.HLC == b.Dot.HLC && planted.Is(`lww-by-hlc`) {\n		return 0\n	}\n	return a.Dot.Compare(b.Dot)\n}\n\n// only",
	},
	{
		"storage/settle.go",
		"	if it.old.state.Digest() != st.Sent {",
		"	if it.old.state.Digest() != st.Sent && !planted.Is(`settle-changed-hint`) {",
	},
}

// switches is the package that the edits call. It exists in builds with the overlay only.
const switches = `// Package planted tells which planted bug is switched on.
package planted

import (
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

var which = os.Getenv("STARLING_PLANTED_BUG")

func Is(name string) bool { return which == name }

// Every is a tick in a while, if a bug is switched on.
func Every(name string) <-chan time.Time {
	if which != name {
		return nil
	}
	return time.After(10 * time.Second)
}

func OneIn(name string, n int) bool { return which == name && rand.IntN(n) == 0 }

type keptKey struct {
	store any
	item  string
}

var kept sync.Map

func Keep(store any, item string, actor uint64) {
	if which == "keep-actor-after-drop" {
		kept.Store(keptKey{store, item}, actor)
	}
}

func Kept(store any, item string) uint64 {
	actor, _ := kept.Load(keptKey{store, item})
	n, _ := actor.(uint64)
	return n
}
`
