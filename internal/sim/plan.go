package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/starling-db/starling/internal/history"
)

// Plan is all that a seed decides: the cluster, its clients and what happens to it. It is a value: the same seed and
// version of this package make the same plan.
type Plan struct {
	Seed       uint64
	Nodes      int
	Partitions int
	// MemTable is the size of a memtable in bytes. A small one makes flushes and compactions part of the run.
	MemTable    int64
	MaxSiblings int
	// GossipLoss and GossipDuplicate are the share of gossip packets that are lost, and that arrive twice.
	GossipLoss, GossipDuplicate float64
	Clocks                      []Clock
	Buckets                     []Bucket
	Sessions                    []Session
	// Spread is over how many partition keys the items are spread that clients contend for.
	Spread int
	// Turnover is how long clients contend for one set of items. Then they leave them as they are, so that the next write
	// does not mend a copy that was missed.
	Turnover time.Duration
	// Repair is how often owners compare what they hold; 0: never.
	Repair time.Duration
	// Length is how long the clients work.
	Length time.Duration
	Faults []Fault
}

// Clock is how a node's clock is off: by an offset, and by so many seconds more a second.
type Clock struct {
	Offset time.Duration
	Drift  float64
}

// Bucket is one that the clients use.
type Bucket struct {
	Name   string
	Policy history.Policy
	N      int
	// Memory buckets acknowledge before a write is on disk.
	Memory bool
	// Items is how many items clients of this bucket contend for.
	Items int
}

// Session is a client: it does one operation after the other.
type Session struct {
	Bucket string
	Strict bool
	R, W   int
	// Think is the mean pause between two operations.
	Think time.Duration
	// Timeout bounds a try, Tries the tries of one operation.
	Timeout time.Duration
	Tries   int
	// Register makes it the only writer of an item of its own, which readers of the same bucket share.
	Register bool
	// Library: it goes through the client library rather than to nodes of its own choice.
	Library bool
	// Weights say how often it does what.
	Weights [actions]int
}

// action is a thing that a session does.
type action int

const (
	freshPut    action = iota // to an item that nobody else writes
	burst                     // several writes to such an item, one right after the other
	blindPut                  // without a context
	update                    // a read, and a put with its context
	updateTwice               // the same context used for two puts
	chain                     // a put with the context that the put before returned
	deleteRead                // a read, and a delete with its context
	deleteBlind               // a delete without a context
	read
	query
	repeat // an old write again, under its request id
	actions
)

// rng is randomness for one purpose. Purposes don't disturb one another.
func (p *Plan) rng(purpose string, n ...int) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, purpose, n) // never fails
	return rand.New(rand.NewPCG(p.Seed, h.Sum64()))
}

// normalOffset bounds how far clocks are off from the start: two of them stay within the default bound of each other.
const normalOffset = 200 * time.Millisecond

// NewPlan makes the plan of a seed. Like a swarm, each seed draws which kinds of faults and of operations it has at
// all, so that some meet that would drown one another if all were always there.
func NewPlan(seed uint64) *Plan {
	p := &Plan{Seed: seed, Nodes: 5, Partitions: 16, Spread: 4, MaxSiblings: 100}
	rng := p.rng("plan")
	p.MemTable = []int64{1 << 20, 4 << 20}[rng.IntN(2)]
	p.GossipLoss = pick(rng, 0, 0, 0.02, 0.1)
	p.GossipDuplicate = pick(rng, 0, 0, 0.05)
	off := rng.IntN(2) == 0
	for range p.Nodes {
		c := Clock{}
		if off {
			c.Offset = time.Duration(rng.Int64N(int64(2*normalOffset))) - normalOffset
			c.Drift = (rng.Float64() - 0.5) * 2e-3
		}
		p.Clocks = append(p.Clocks, c)
	}
	p.Turnover = pick(rng, 3*time.Second, 8*time.Second, time.Hour)
	p.Repair = pick(p.rng("repair"), 0, 10*time.Second, 10*time.Second, 10*time.Second)
	p.Length = time.Duration(20+rng.IntN(20)) * time.Second
	p.buckets(rng)
	p.sessions(rng)
	p.faults(rng)
	if seed%partAgain == partAgain-1 {
		p.partedAgain(p.rng("parted again"))
	}
	p.faultsAtRest(p.rng("at rest"))
	return p
}

// partAgain: one plan in so many parts the same two nodes from the others again and again.
const partAgain = 8

// partedAgain makes stand-ins of two nodes, over and over: they take writes for items that they don't own, hand them
// over, forget them, and take writes for the same items again.
func (p *Plan) partedAgain(rng *rand.Rand) {
	pair := rng.Perm(p.Nodes)[:2]
	p.Faults = nil
	for at := time.Second; at < p.Length-6*time.Second; {
		f := Fault{Kind: Minority, At: at, For: 4*time.Second + time.Duration(rng.IntN(2000))*time.Millisecond, Nodes: pair}
		p.Faults = append(p.Faults, f)
		at += f.For + 2*time.Second + time.Duration(rng.IntN(2000))*time.Millisecond
	}
	p.Turnover, p.Spread = time.Hour, 12
	for i := range p.Buckets {
		p.Buckets[i].Items = p.Spread
	}
	for i := range p.Sessions {
		s := &p.Sessions[i]
		if s.Register {
			continue
		}
		s.Strict, s.Library, s.R, s.W = false, false, 1+rng.IntN(2), 1+rng.IntN(2)
		s.Weights[blindPut], s.Weights[chain], s.Weights[read] = 2, 4, 6
	}
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

func (p *Plan) buckets(rng *rand.Rand) {
	few := pick(rng, 3, 6, 12)
	p.Buckets = []Bucket{
		{Name: "default", Policy: history.Siblings, N: 3, Items: few},
		{Name: "last", Policy: history.LWW, N: 3, Items: few},
	}
	if rng.IntN(2) == 0 {
		p.Buckets = append(p.Buckets, Bucket{Name: "memory", Policy: history.Siblings, N: 3, Memory: true, Items: few})
	}
	if rng.IntN(4) == 0 {
		p.Buckets = append(p.Buckets, Bucket{Name: "wide", Policy: history.Siblings, N: 5, Items: few})
	}
	if rng.IntN(6) == 0 { // no write that is synced takes those before it along
		p.Buckets = []Bucket{{Name: "memory", Policy: history.Siblings, N: 3, Memory: true, Items: few}}
	}
}

// sessions draws the clients. Each bucket has some that work at one level throughout.
func (p *Plan) sessions(rng *rand.Rand) {
	for _, b := range p.Buckets {
		count := 2
		if b.Name == "default" || len(p.Buckets) == 1 {
			count = 5
		}
		for i := range count {
			s := Session{
				Bucket: b.Name, Strict: rng.IntN(2) == 0, R: b.N/2 + 1, W: b.N/2 + 1,
				Think:   time.Duration(50+rng.IntN(300)) * time.Millisecond,
				Timeout: pick(rng, 300*time.Millisecond, time.Second, 3*time.Second), Tries: 1 + rng.IntN(4),
				Library: rng.IntN(4) == 0,
			}
			if rng.IntN(3) == 0 {
				s.R, s.W = 1+rng.IntN(b.N), 1+rng.IntN(b.N)
			}
			for a := range s.Weights {
				if rng.IntN(3) > 0 {
					s.Weights[a] = 1 + rng.IntN(5)
				}
			}
			s.Weights[read] += 2
			s.Weights[update] += 2
			s.Weights[freshPut] += 2
			s.Weights[burst] += 2
			if b.Policy == history.Siblings {
				s.Weights[blindPut] = min(s.Weights[blindPut], 1) // siblings add up
			}
			if i == 0 && !b.Memory {
				s.Register, s.Strict, s.R, s.W = true, true, b.N/2+1, b.N/2+1
				s.Tries, s.Library = 4, false
			}
			p.Sessions = append(p.Sessions, s)
		}
	}
}

// FaultKind is something that goes wrong.
type FaultKind string

// The kinds of faults.
const (
	Isolate      FaultKind = "isolate"       // one node from all others
	Minority     FaultKind = "minority"      // two nodes from the rest
	Ring         FaultKind = "ring"          // each node hears its two neighbours only
	Bridge       FaultKind = "bridge"        // two halves that share one node
	OneWay       FaultKind = "one-way"       // one direction between two nodes
	Deaf         FaultKind = "deaf"          // a node sends and hears nothing
	Mute         FaultKind = "mute"          // a node hears and can't send
	Flap         FaultKind = "flap"          // links cut and restored in random order
	SlowLink     FaultKind = "slow-link"     // one direction between two nodes takes long
	SlowNode     FaultKind = "slow-node"     // all that a node sends takes long
	LossyGossip  FaultKind = "lossy-gossip"  // gossip packets are lost and doubled
	LostReplies  FaultKind = "lost-replies"  // clients get no answer from a node
	Crash        FaultKind = "crash"         // a node loses its power
	CrashMany    FaultKind = "crash-many"    // several at once
	Restart      FaultKind = "restart"       // a node is stopped gracefully
	Pause        FaultKind = "pause"         // a node neither hears nor says anything, and its disk waits
	ClockJump    FaultKind = "clock-jump"    // a node's clock is set
	SyncError    FaultKind = "sync-error"    // syncs fail
	WriteError   FaultKind = "write-error"   // writes fail
	SlowDisk     FaultKind = "slow-disk"     // syncs of the log take long
	DiskFull     FaultKind = "disk-full"     // somebody else fills the disk
	DiskWiped    FaultKind = "disk-wiped"    // a node comes back with an empty disk
	DiskReverted FaultKind = "disk-reverted" // a node comes back with an image from a while ago
	// Those of data at rest, which only comparing and scrubbing can find and mend.
	TreeCorrupted FaultKind = "tree-corrupted" // leaves of a node's trees say something else than its items
	BitFlip       FaultKind = "bit-flip"       // a node's records of some items are damaged
)

// Fault is one thing that goes wrong for a while.
type Fault struct {
	Kind FaultKind
	// At is when it begins, from when the clients begin; For how long it lasts.
	At, For time.Duration
	// Nodes are whom it hits, in the order that the kind asks for.
	Nodes []int
	// Keep is the part in a hundred of what was not synced that a crash leaves: 0, 50 or 100.
	Keep int
	// Crash: it ends with a power cut on its nodes, which come back a moment later.
	Crash bool
	// Amount is the delay, or the clock's step, that the kind asks for.
	Amount time.Duration
	// Room is what a full disk has left, in bytes.
	Room int64
	// Count is how many leaves or items are hit.
	Count int
}

func (f Fault) String() string {
	text := fmt.Sprintf("%s at %v for %v", f.Kind, f.At.Round(time.Millisecond), f.For.Round(time.Millisecond))
	for i, n := range f.Nodes {
		if i == 0 {
			text += " on"
		}
		text += " " + nodeName(n)
	}
	if f.Crash {
		text += ", then a crash"
	}
	switch f.Kind {
	case Crash, CrashMany:
		text += fmt.Sprintf(", keeping %d %% of what is not synced", f.Keep)
	case SlowLink, SlowNode, ClockJump, SlowDisk:
		text += fmt.Sprintf(", by %v", f.Amount)
	case DiskFull:
		text += fmt.Sprintf(", %d KiB left", f.Room>>10)
	case TreeCorrupted, BitFlip:
		text += fmt.Sprintf(", %d of them", f.Count)
	}
	return text
}

// common are the kinds of faults that any run may have.
var common = []FaultKind{
	Isolate, Minority, Ring, Bridge, OneWay, Deaf, Mute, Flap, SlowLink, SlowNode, LossyGossip, LostReplies,
	Crash, Crash, CrashMany, Restart, Pause, ClockJump, SyncError, WriteError, SlowDisk, DiskFull,
}

// gentle are those in which no node goes down: what it took on, it must see through.
var gentle = []FaultKind{Isolate, Minority, Ring, Bridge, OneWay, Deaf, Mute, Flap, SlowLink, SlowNode, LossyGossip, LostReplies, ClockJump}

// amnesia is one run in this many: in them one disk loses what it had synced, which quorums may notice.
const amnesia = 12

// faults draws what goes wrong: a few kinds, one after the other, sometimes two at a time.
func (p *Plan) faults(rng *rand.Rand) {
	from := common
	if rng.IntN(3) == 0 {
		from = gentle
	}
	kinds := make([]FaultKind, 0, 6)
	for range 2 + rng.IntN(5) {
		kinds = append(kinds, pick(rng, from...))
	}
	if len(from) == len(common) && rng.IntN(amnesia) == 0 {
		at := p.Length/4 + time.Duration(rng.Int64N(int64(p.Length/2)))
		p.Faults = append(p.Faults, Fault{
			Kind: pick(rng, DiskWiped, DiskReverted), At: at, For: time.Duration(1+rng.IntN(3)) * time.Second, Nodes: []int{rng.IntN(p.Nodes)},
		})
	}
	often := rng.IntN(p.Nodes) // is hit more often than others
	tracks := 1 + rng.IntN(2)
	for range tracks {
		at := time.Duration(rng.IntN(3000)) * time.Millisecond
		for at < p.Length-3*time.Second {
			f := p.fault(rng, pick(rng, kinds...), often)
			if f.Kind == ClockJump && f.Amount > farAhead && slices.ContainsFunc(kinds, cutsOff) {
				f.Amount = -f.Amount
			}
			f.At = at
			f.For = min(f.For, max(p.Length-at, time.Second))
			p.Faults = append(p.Faults, f)
			at += f.For + time.Duration(200+rng.IntN(3000))*time.Millisecond
		}
	}
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return int(a.At - b.At) })
	if last := len(p.Faults) - 1; last >= 0 && rng.IntN(15) == 0 {
		p.longPause(rng)
	}
}

// farAhead is how far a clock may jump ahead while its node may be alone. Nobody can tell a lone node that its clock is
// wrong (docs/design/clock.md): it mints, and then has to wait for its clock to get there.
const farAhead = 10 * time.Second

// cutsOff says whether a kind of fault may leave a node alone.
func cutsOff(k FaultKind) bool {
	return !slices.Contains([]FaultKind{ClockJump, SlowDisk, LossyGossip, LostReplies, DiskFull}, k)
}

// longPause adds a pause of up to two minutes, and makes the run last.
func (p *Plan) longPause(rng *rand.Rand) {
	f := Fault{Kind: Pause, At: p.Length / 2, For: time.Duration(30+rng.IntN(90)) * time.Second, Nodes: []int{rng.IntN(p.Nodes)}}
	p.Faults = append(p.Faults, f)
	p.Length = f.At + f.For + 2*time.Second
	for i := range p.Sessions {
		p.Sessions[i].Think *= 4
	}
}

func (p *Plan) fault(rng *rand.Rand, kind FaultKind, often int) Fault {
	order := rng.Perm(p.Nodes)
	if rng.IntN(2) == 0 {
		at := slices.Index(order, often)
		order[0], order[at] = order[at], order[0]
	}
	f := Fault{Kind: kind, Nodes: order[:1], For: time.Duration(500+rng.IntN(6000)) * time.Millisecond}
	switch kind {
	case Minority, OneWay, SlowLink:
		f.Nodes = order[:2]
	case Ring, Bridge, Flap:
		f.Nodes = order
	case LossyGossip:
		f.Nodes = nil
	case Crash:
		f.Keep = pick(rng, 0, 50, 100)
		f.For = time.Duration(100+rng.IntN(5000)) * time.Millisecond
	case CrashMany:
		f.Keep = pick(rng, 0, 50, 100)
		f.Nodes = order[:2+rng.IntN(p.Nodes-1)]
		f.For = time.Duration(100+rng.IntN(3000)) * time.Millisecond
	case Pause:
		f.For = time.Duration(1000+rng.IntN(9000)) * time.Millisecond
		f.Crash = rng.IntN(4) == 0
	case SyncError, SlowDisk:
		f.Nodes = order[:pick(rng, 1, 1, 3, p.Nodes)]
		f.Crash = rng.IntN(2) == 0
	case DiskFull:
		f.Room = pick[int64](rng, 0, 64<<10, 1<<20, 32<<20)
	}
	switch kind {
	case SlowLink, SlowNode:
		f.Amount = pick(rng, 20*time.Millisecond, 100*time.Millisecond, 400*time.Millisecond, 2*time.Second)
	case SlowDisk:
		f.Amount = pick(rng, 5*time.Millisecond, 50*time.Millisecond, 500*time.Millisecond)
	case ClockJump:
		f.Amount = pick(rng, 100*time.Millisecond, 400*time.Millisecond, 2*time.Second, time.Hour) * pick[time.Duration](rng, 1, -1)
	}
	return f
}
