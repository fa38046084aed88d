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
}

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
}

// edit is a change of one source file: the text before, which must be there exactly once, and after.
type edit struct {
	file, old, new string
}

// edits plant all bugs at once; planted.Is tells which one is switched on.
var edits = []edit{
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
		"	merged := causal.Merge(m.Policy, it.old.state, m.State)",
		"	merged := causal.Merge(m.Policy, it.old.state, m.State)\n	if m.Overwrite {\n		merged = m.State\n	}",
	},
	{"coordinator/messages.go", "type WriteRequest struct {", "type WriteRequest struct {\n	Handoff bool\n"},
	{
		"node/serve_peers.go",
		"		out.N, out.Policy = int(h.GetN()), policyOf(h.GetConflict())",
		"		out.N, out.Policy = int(h.GetN()), policyOf(h.GetConflict())\n		out.Handoff = planted.Is(`hint-overwrites`)",
	},
	{
		"node/replica.go",
		"			Sync: req.Sync, Epoch: req.Epoch,\n		})",
		"			Sync: req.Sync, Epoch: req.Epoch, Overwrite: req.Handoff,\n		})",
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
)

var which = os.Getenv("STARLING_PLANTED_BUG")

func Is(name string) bool { return which == name }

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
