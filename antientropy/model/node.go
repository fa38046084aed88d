package model

import (
	"slices"

	"github.com/starling-db/starling/causal"
)

// The cast: one partition of three owners and two fallbacks, which are its guardians, and three items.
const (
	owners    = 3
	guardians = 5
	items     = 3
)

// One tick is a millisecond of HLC. The spans are small, so that a run of a hundred steps passes them
// many times over; only their order matters.
const (
	deadline    = 6  // of a request, by true time
	longest     = 8  // the longest request, the margin of a round; shorter than the retry window
	retryWindow = 16 // as in the product
	maxOffset   = 4  // what the purge rule adds; clocks stray much further
	lease       = 6  // how far ahead a clock's bound is made durable
	grace       = 20 // of the weakened purge by wall clock
)

var names = [guardians]string{"A", "B", "C", "F", "G"}

// pairs are all pairs of owners.
var pairs = [3][2]int{{0, 1}, {0, 2}, {1, 2}}

func isOwner(i int) bool { return i < owners }

// set is a set of small numbers: nodes, or writes.
type set uint64

func (s set) has(i int) bool { return s>>uint(i)&1 == 1 }

const allOwners, allGuardians = set(1<<owners - 1), set(1<<guardians - 1)

func back(h causal.HLC, ms int) causal.HLC {
	if m := h.Millis() - int64(ms); m > 0 {
		return causal.NewHLC(m, h.Counter())
	}
	return 0
}

func forth(h causal.HLC, ms int) causal.HLC { return causal.NewHLC(h.Millis()+int64(ms), h.Counter()) }

// record is a node's copy of one item. Versions are never changed in place, so a copied record is a
// snapshot.
type record struct {
	versions []causal.Version
	actor    causal.Actor // zero: none drawn
	targets  set          // of a hint: the owners it stands in for
}

// contents is all that a node keeps on disk.
type contents struct {
	data       [items]record // an owner's; a fallback has hints alone
	hints      [items]record
	floor      causal.HLC
	purge      causal.HLC // the purge level; of a rebuilding owner the one it was told of
	bound      causal.HLC // of the clock; durable before it is used
	attested   causal.HLC // T of the last attestation
	rebuilding bool
	length     int // of the log: how much was ever synced
}

// levels are what peers say of the partition.
type levels struct{ watermark, purge causal.HLC }

// node is a slot of the partition. A crash makes memory what the disk holds; a sync does the reverse,
// and for the whole node, because a log is durable up to a point.
type node struct {
	up      bool
	id      int // a wiped node comes back as a new one
	process int
	skew    int
	clock   causal.HLC
	memory  contents
	disk    contents
	copied  *contents
	// While rebuilding: who was pulled whole, and the highest floor among them. Lost with the process.
	pulled      set
	pulledFloor causal.HLC
	pulledAny   bool // some source was itself not rebuilding
}

// record is where node i keeps its copy of an item: data at an owner, the hint at a fallback.
func (w *world) record(i, item int) *record {
	if isOwner(i) {
		return &w.nodes[i].memory.data[item]
	}
	return &w.nodes[i].memory.hints[item]
}

// claims are what node i holds against what it gets: its floor and purge level. One that rebuilds knows of nothing, but it
// does know what is purged elsewhere.
func (w *world) claims(i int) causal.State {
	n := &w.nodes[i]
	c := causal.State{Floor: n.memory.floor, PurgeLevel: n.memory.purge}
	switch {
	case !w.rules.ClaimsInMerges:
		return causal.State{}
	case !isOwner(i) && w.rules.FallbackClaimsNothing:
		return causal.State{}
	case !isOwner(i):
		return causal.State{Floor: w.watermark, PurgeLevel: w.purgeLevel}
	case n.memory.rebuilding && !w.rules.RebuildingDenies:
		c.PurgeLevel = 0
	}
	return c
}

// state is what a node sends of an item.
func (w *world) state(i, item int) causal.State {
	s := causal.State{Versions: w.record(i, item).versions}
	if w.nodes[i].memory.rebuilding {
		return s // vouches for nothing
	}
	return s.Claims(w.claims(i))
}

// receive merges a state into a node's copy. A node's claims speak for all its items, so those of one are not kept; what
// its purge level lets go is not taken.
func (w *world) receive(i int, r *record, own, s causal.State) {
	n := &w.nodes[i]
	if !w.rules.ClaimsInMerges {
		s = s.Bare()
	}
	for _, v := range s.Versions {
		n.clock = max(n.clock, v.Dot.HLC)
	}
	r.versions = w.merge(causal.State{Versions: r.versions}.Claims(own), s).Versions
	if level := w.purgeLevelOf(i); level > 0 && isOwner(i) && !n.memory.rebuilding {
		w.purgeItem(r, level)
	}
}

// merge is the product's. Weakened, nobody refutes a denial.
func (w *world) merge(a, b causal.State) causal.State {
	floor := max(a.Floor, b.Floor)
	if !w.rules.FloorRefutes {
		a.Floor, b.Floor = 0, 0
	}
	s := causal.Merge(causal.Siblings, a, b)
	s.Floor = floor
	return s
}

func (w *world) physical(i int) causal.HLC {
	return causal.NewHLC(int64(w.now+w.nodes[i].skew), 0)
}

// reading is what the clock of node i would say next, above some other reading.
func (w *world) reading(i int, after causal.HLC) causal.HLC {
	return max(max(w.nodes[i].clock, after).Next(), w.physical(i))
}

// setClock hands a reading out, with its bound made durable before.
func (w *world) setClock(i int, h causal.HLC) {
	n := &w.nodes[i]
	n.clock = max(n.clock, h)
	if h > n.disk.bound {
		n.disk.bound = forth(h, lease)
		n.memory.bound = n.disk.bound
	}
}

// sync makes durable what a node has, and counts its own copies of writes that it coordinates.
func (w *world) sync(i int) {
	n := &w.nodes[i]
	bound := n.disk.bound
	n.memory.length++
	n.disk = n.memory
	n.disk.bound = bound
	for k := range w.attempts {
		if a := &w.attempts[k]; a.unsynced && a.coordinator == i && a.process == n.process {
			a.unsynced = false
			w.acknowledge(k, a.self)
		}
	}
}

func holds(vs []causal.Version, d causal.Dot) bool {
	return slices.ContainsFunc(vs, func(v causal.Version) bool { return v.Dot == d })
}

func sameDots(a, b []causal.Version) bool {
	return slices.EqualFunc(a, b, func(x, y causal.Version) bool { return x.Dot == y.Dot })
}
