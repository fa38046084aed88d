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
	bound      causal.HLC // of the clock; durable before it is used
	attested   causal.HLC // T of the last attestation
	rebuilding bool
	length     int // of the log: how much was ever synced
}

// levels are what gossip says of the partition.
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
	heard   levels
	// While rebuilding: who was pulled whole, and the highest floor among them. Lost with the process.
	pulled      set
	pulledFloor causal.HLC
	pulledAny   bool // some source was itself not rebuilding
	// itemFloors are the floors of the sources that each item was pulled from.
	itemFloors [items]causal.HLC
}

// record is where node i keeps its copy of an item: data at an owner, the hint at a fallback.
func (w *world) record(i, item int) *record {
	if isOwner(i) {
		return &w.nodes[i].memory.data[item]
	}
	return &w.nodes[i].memory.hints[item]
}

// floor is what node i claims about an item when states are merged.
func (w *world) floor(i, item int) causal.HLC {
	n := &w.nodes[i]
	switch {
	case !w.rules.FloorsInMerges:
		return 0
	case !isOwner(i) && w.rules.FallbackFloorZero:
		return 0
	case !isOwner(i):
		return w.watermark
	case n.memory.rebuilding:
		return n.itemFloors[item]
	}
	return n.memory.floor
}

func (w *world) state(i, item int) causal.State {
	s := causal.State{Versions: w.record(i, item).versions, Floor: w.floor(i, item)}
	if w.nodes[i].memory.rebuilding {
		s.Floor = 0 // vouches for nothing
	}
	return s
}

// receive merges a state into a node's copy. The result's floor is that of one item alone, so it is
// not kept: a node's floor speaks for all its items.
func (w *world) receive(i int, r *record, own causal.HLC, s causal.State) {
	n := &w.nodes[i]
	if !w.rules.FloorsInMerges {
		s.Floor = 0
	}
	for _, v := range s.Versions {
		n.clock = max(n.clock, v.Dot.HLC)
	}
	r.versions = w.merge(causal.State{Versions: r.versions, Floor: own}, s).Versions
}

// merge is the product's, but that the lower floor takes no part. Its side may lack a version because of
// a write that the higher floor dooms: late, refused everywhere, and dropped in this very merge. Then what
// it had replaced there must stay, for the higher floor knows it to be live.
func (w *world) merge(a, b causal.State) causal.State {
	floor := max(a.Floor, b.Floor)
	if w.rules.HigherFloorDrops && a.Floor < b.Floor {
		a.Floor = 0
	}
	if w.rules.HigherFloorDrops && b.Floor < floor {
		b.Floor = 0
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
