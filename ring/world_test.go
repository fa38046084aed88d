package ring

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	worldNodes     = 6
	worldRegisters = 4 // a token each: partitions are never cut further
	worldEpochs    = 48
)

// broken says which rules a world does without.
type broken struct {
	fence, changed, pullFence         bool // none at all; owner sets compared instead; not for pulls
	readOld, readNew                  bool // in a joint epoch only one layout's quorum is read
	oneSource, stayersSkip            bool
	forAcked                          bool // as many sources as meet each write quorum, and not more
	commitUnfenced, commitIncomplete  bool
	dropEarly, keepSources, reuseName bool
}

// world is a handful of nodes that move partitions by the functions of this package while clients
// write and read. A register holds the set of all writes that it has seen, which is as hard to get
// right as any value: a write is lost once some quorum does not see it.
type world struct {
	r         *rand.Rand
	q         Quorums
	off       broken
	log       history
	sets      [][worldRegisters][2]uint // by epoch: the owners in both layouts
	nodes     []worldNode
	ops       []operation
	written   [worldRegisters]int
	acked     [worldRegisters]uint64
	ackedAt   [worldRegisters][worldEpochs]uint64 // by the epoch that the write was planned at
	shown     [worldRegisters]uint64              // by reads, whatever became of the write
	pool      [][worldRegisters][]uint16          // owner lists that layouts are made of: rings come back
	names     []uint                              // owner sets by name, where origins are not
	version   uint64
	cut       int // the node that reaches nobody but itself, or none
	commits   int
	reads     int
	violation string // the first promise that was broken
	thin      bool   // whether to end when a drop leaves an owner without a copy that it should have
}

type worldNode struct {
	epoch     int
	data      [worldRegisters]uint64
	complete  [worldRegisters]uint64 // by origin
	pulled    [worldRegisters]uint   // by source
	pulledAt  [worldRegisters]int    // epoch
	pulledFor [worldRegisters]uint64 // origin
}

// operation is a put or get under way. Its messages may come at any time.
type operation struct {
	read     bool
	by       int
	epoch    int
	register int
	write    uint64
	answered uint   // by node
	seen     uint64 // what answers to a read have shown, one or another of them
	alike    uint64 // what all of them have
	joins    bool   // the read has its quorums, which differ, and brings them together
	joined   uint   // by node
	want     uint64 // what was acknowledged, or shown, before the read began
}

func newWorld(seed uint64, q Quorums, off broken) *world {
	r := rand.New(rand.NewPCG(seed, 81))
	w := &world{r: r, q: q, off: off, nodes: make([]worldNode, worldNodes), cut: r.IntN(2 * worldNodes)}
	var members []Member
	for i := range worldNodes {
		members = append(members, Member{ID: worldID(i), Weight: 1})
	}
	for range 3 {
		var rows [worldRegisters][]uint16
		for k := range rows {
			if rows[k] = w.row(); k > 0 && len(w.pool) > 0 && r.IntN(3) > 0 {
				rows[k] = w.pool[0][k] // most moves are about one register
			}
		}
		w.pool = append(w.pool, rows)
	}
	partitions := 1 << r.IntN(3)
	w.log = history{Genesis(newLayout(0, members, partitions, q.N, w.rows(w.pool[0], partitions, q.N)))}
	w.note()
	return w
}

func worldID(i int) NodeID { return NodeID{byte(i + 1)} }

func worldIndex(id NodeID) int { return int(id[0]) - 1 }

func setOf(ids []NodeID) (set uint) {
	for _, id := range ids {
		set |= 1 << worldIndex(id)
	}
	return set
}

// note keeps the owner sets of the newest epoch.
func (w *world) note() {
	e := w.log.last()
	var sets [worldRegisters][2]uint
	for k := range sets {
		p := e.PartitionOf(registerToken(k))
		sets[k] = [2]uint{setOf(e.Owners(p, w.q.N)), setOf(e.NextOwners(p, w.q.N))}
	}
	w.sets = append(w.sets, sets)
}

// row is an owner list: any, or that of the layout before with one owner replaced.
func (w *world) row() []uint16 {
	row := make([]uint16, 0, worldNodes)
	for _, i := range w.r.Perm(worldNodes) {
		row = append(row, uint16(i))
	}
	if len(w.pool) > 0 && w.r.IntN(2) == 0 {
		row = slices.Clone(w.pool[len(w.pool)-1][w.r.IntN(worldRegisters)])
		i, j := w.r.IntN(w.q.N), w.q.N+w.r.IntN(worldNodes-w.q.N)
		row[i], row[j] = row[j], row[i]
	}
	return row
}

// rows is the owners of so many partitions.
func (w *world) rows(from [worldRegisters][]uint16, partitions, replicas int) (owners []uint16) {
	for p := range partitions {
		owners = append(owners, from[p*worldRegisters/partitions][:replicas]...)
	}
	return owners
}

// register draws one, and one of them more often than the others.
func (w *world) register() int { return max(0, w.r.IntN(3*worldRegisters)-2*worldRegisters) }

func registerToken(k int) Token { return Token(k) << 62 }

func (w *world) reach(i, j int) bool { return i == j || i != w.cut && j != w.cut }

// accept is a node's fence.
func (w *world) accept(i, epoch, k int, pull bool) bool {
	n := &w.nodes[i]
	if epoch > n.epoch && !(pull && w.off.pullFence) {
		n.epoch = epoch
	}
	e := w.log[n.epoch]
	switch {
	case w.off.fence || pull && w.off.pullFence:
		return true
	case w.off.changed:
		return w.sets[epoch][k] == w.sets[n.epoch][k]
	}
	return e.Fence(uint64(epoch), e.PartitionOf(registerToken(k)), w.q.N) == Serve
}

func (w *world) start(read bool) {
	if len(w.ops) == 8 {
		at := w.r.IntN(len(w.ops))
		w.ops = slices.Delete(w.ops, at, at+1)
	}
	k := w.register()
	by := w.r.IntN(worldNodes)
	op := operation{read: read, register: k, by: by, epoch: w.nodes[by].epoch, alike: math.MaxUint64, want: w.acked[k] | w.shown[k]}
	if !read {
		if w.written[k] == 64 {
			return
		}
		op.write = 1 << w.written[k]
		w.written[k]++
	}
	w.ops = append(w.ops, op)
}

// deliver hands one operation to one node, and ends it when it has its quorums.
func (w *world) deliver(at, i int) {
	op := &w.ops[at]
	old, next := w.sets[op.epoch][op.register][0], w.sets[op.epoch][op.register][1]
	switch {
	case op.read && w.off.readOld:
		next = old
	case op.read && w.off.readNew:
		old = next
	}
	answered := &op.answered
	if op.joins {
		answered = &op.joined
	}
	if (old|next)&^*answered&(1<<i) == 0 || !w.reach(op.by, i) || !w.accept(i, op.epoch, op.register, false) {
		return
	}
	*answered |= 1 << i
	data := &w.nodes[i].data[op.register]
	need := w.q.W
	switch {
	case !op.read:
		*data |= op.write
	case op.joins:
		*data |= op.seen
		need = w.stable()
	default:
		op.seen |= *data
		op.alike &= *data
		need = w.q.R
	}
	if ones(*answered&old) < need || ones(*answered&next) < need {
		return
	}
	switch {
	case !op.read:
		w.acked[op.register] |= op.write
		w.ackedAt[op.register][op.epoch] |= op.write
	case !op.joins && op.alike != op.seen:
		op.joins = true
		return
	default:
		w.reads++
		if op.want&^op.seen != 0 {
			w.violation = fmt.Sprintf("a read of register %d at epoch %d misses what was acknowledged, or shown", op.register, op.epoch)
		}
		if 2*w.q.R > w.q.N { // else reads may go back in time, moves or none
			w.shown[op.register] |= op.seen
		}
	}
	w.ops = slices.Delete(w.ops, at, at+1)
}

// stable is how many owners have to hold what a read returns.
func (w *world) stable() int {
	if w.q.R == 1 {
		return 1
	}
	return w.q.N - w.q.R + 1
}

// pull lets a node read a register from one more source.
func (w *world) pull(t, s, k int) {
	n := &w.nodes[t]
	e := w.log[n.epoch]
	p := e.PartitionOf(registerToken(k))
	pull, ok := e.Pull(worldID(t), p, w.q)
	name := w.name(e, p, pull.Origin)
	if !ok || n.complete[k]>>name&1 != 0 || setOf(pull.Sources)>>s&1 == 0 || !w.reach(t, s) || !w.accept(s, n.epoch, k, true) {
		return
	}
	if e.Changed(p, w.q.N) > uint64(n.pulledAt[k]) && !(w.off.keepSources && n.pulledFor[k] == pull.Origin) {
		n.pulled[k] = 0
	}
	n.pulledAt[k], n.pulledFor[k] = n.epoch, pull.Origin
	n.pulled[k] |= 1 << s
	n.data[k] |= w.nodes[s].data[k]
	switch {
	case w.off.oneSource:
		pull.Need = 1
	case w.off.forAcked:
		pull.Need = quorum(len(pull.Sources), len(pull.Sources)-w.q.W+1)
	}
	if ones(n.pulled[k]) >= pull.Need {
		n.complete[k] |= 1 << name
	}
}

// decide begins, commits or aborts a move.
func (w *world) decide() {
	last := w.log.last()
	switch {
	case len(w.log) == worldEpochs:
	case !last.Joint():
		w.version++
		w.log.begin(w.layout(last.Base))
	case w.r.IntN(25) == 0:
		w.log.end(false)
	case len(last.MayCommit(w.q, w.facts(last))) == 0:
		w.log.end(true)
		w.commits++
	}
}

func (w *world) layout(l *Layout) *Layout {
	partitions := l.Partitions()
	if partitions < worldRegisters && w.r.IntN(4) == 0 {
		partitions *= 2
		if w.r.IntN(2) == 0 {
			split, err := Split(l, partitions, w.version)
			if err != nil {
				panic(err) // the input is ours
			}
			return split
		}
	}
	replicas := w.q.N
	if least := max(w.q.R, w.q.W); w.r.IntN(5) == 0 {
		replicas = least + w.r.IntN(w.q.N-least+1) // a cluster that has too few nodes for N
	}
	return newLayout(w.version, l.members, partitions, replicas, w.rows(w.pool[w.r.IntN(len(w.pool))], partitions, replicas))
}

func ones(set uint) (n int) {
	for ; set != 0; set &= set - 1 {
		n++
	}
	return n
}

// run takes so many steps, in a mixture that the seed draws, or until a promise is broken.
func (w *world) run(steps int) {
	weights := [...]int{1 + w.r.IntN(6), 1 + w.r.IntN(8), 10 + w.r.IntN(30), w.r.IntN(8), 10 + w.r.IntN(60), 3 + w.r.IntN(12), w.r.IntN(10), w.r.IntN(2)}
	if w.r.IntN(3) == 0 {
		weights[3] = 0 // nobody learns of an epoch but by messages
	}
	sum := 0
	for _, weight := range weights {
		sum += weight
	}
	for ; steps > 0 && w.violation == ""; steps-- {
		x, kind := w.r.IntN(sum), 0
		for x >= weights[kind] {
			x -= weights[kind]
			kind++
		}
		w.step(kind)
	}
}

func (w *world) step(kind int) {
	i, k := w.r.IntN(worldNodes), w.register()
	switch kind {
	case 0, 1:
		w.start(kind == 1)
	case 2:
		if len(w.ops) > 0 {
			w.deliver(w.r.IntN(len(w.ops)), i)
		}
	case 3:
		if i != w.cut {
			w.nodes[i].epoch += w.r.IntN(len(w.log) - w.nodes[i].epoch)
		}
	case 4:
		s := w.r.IntN(worldNodes)
		for k := range worldRegisters {
			w.pull(i, s, k)
		}
	case 5:
		if w.decide(); len(w.log) > len(w.sets) {
			w.note()
			w.check()
		}
	case 6:
		w.drop(i, k)
	case 7:
		w.cut = w.r.IntN(2 * worldNodes)
	}
}
