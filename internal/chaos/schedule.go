// Package chaos breaks a cluster of real processes while clients work on it, records what the clients saw, and holds
// that against what was promised. scripts/chaos runs it.
//
// The parts: schedule.go decides from a seed what breaks when (pure); cluster.go says what can be done to a cluster,
// processes.go and compose.go do it to processes of this machine and to containers; faults.go carries the schedule out;
// load.go and session.go are the clients; settle.go waits until all is well again and reads everything back; report.go
// tells what happened.
package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The kinds of faults.
const (
	Kill       Kind = "kill -9"
	Pause      Kind = "SIGSTOP"
	Cut        Kind = "cut"         // both directions
	OneWay     Kind = "one-way cut" // packets from one side arrive, those from the other don't
	Unplug     Kind = "unplug"      // a container without its network
	SyncError  Kind = "fsync error"
	SyncDelay  Kind = "fsync delay"
	DiskFull   Kind = "full disk"
	RestartAll Kind = "restart of all"
	OldDisk    Kind = "old disk" // put back to what it was when the fault began
	Rot        Kind = "rot"      // some records are damaged
)

// Link is one direction between two nodes.
type Link struct{ From, To int }

// Event is one fault.
type Event struct {
	Index int
	// At is when it begins, since the start of the load; For is how long it lasts. What has been killed needs some time
	// more until it serves again.
	At, For time.Duration
	Kind    Kind
	Nodes   []int  // whose process or disk it hits; of a cut, those on one side
	Links   []Link // of cuts
	// Delay is what a fsync takes; Room is what a full disk has left, in bytes.
	Delay time.Duration
	Room  int64
}

// String names the fault and what it hits, counting nodes from 1.
func (e Event) String() string {
	names := make([]string, len(e.Nodes))
	for i, n := range e.Nodes {
		names[i] = nodeName(n)
	}
	text := fmt.Sprintf("%s %s", e.Kind, strings.Join(names, ","))
	switch e.Kind {
	case Cut, OneWay:
		var links []string
		for _, l := range e.Links {
			switch back := (Link{l.To, l.From}); {
			case !slices.Contains(e.Links, back):
				links = append(links, fmt.Sprintf("%d>%d", l.From+1, l.To+1))
			case l.From < l.To:
				links = append(links, fmt.Sprintf("%d-%d", l.From+1, l.To+1))
			}
		}
		text = fmt.Sprintf("%s %s", e.Kind, strings.Join(links, " "))
	case SyncDelay:
		text += fmt.Sprintf(" of %v", e.Delay)
	case DiskFull:
		text += fmt.Sprintf(" but for %d KiB", e.Room>>10)
	}
	return text
}

// stops reports whether the nodes are down meanwhile, or may be.
func (e Event) stops() bool { return e.Kind == Kill || e.Kind == RestartAll || spoiling[e.Kind] }

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

// Plan is what a schedule is made for.
type Plan struct {
	Seed     uint64
	Duration time.Duration
	Nodes    int
	Kinds    []Kind
	// MinGap and MaxGap bound the time between the beginnings of two faults.
	MinGap, MaxGap time.Duration
}

// Bounds of how long a fault lasts.
const (
	shortest = time.Second
	longest  = 9 * time.Second
)

// Schedule decides what breaks when. It is a pure function: the same plan gives the same events. Every kind comes up
// before any comes up again. Faults overlap, but a node's process or disk has one at a time, a restart of all aside; and
// all are over at the end.
func Schedule(p Plan) []Event {
	if len(p.Kinds) == 0 || p.Nodes < 2 {
		return nil
	}
	rng := rand.New(rand.NewPCG(p.Seed, 0))
	var events []Event
	var deck []Kind
	busy := make([]time.Duration, p.Nodes) // until when
	sound := time.Duration(0)              // from when on all copies are good
	for at := gap(rng, p); at+shortest <= p.Duration; at += gap(rng, p) {
		if len(deck) == 0 {
			deck = slices.Clone(p.Kinds)
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		next := slices.IndexFunc(deck, func(k Kind) bool { return !spoiling[k] || at >= sound })
		if next < 0 {
			continue // nothing else is left to do this time round
		}
		e := Event{
			Index: len(events), At: at, Kind: deck[next],
			For: min(shortest+time.Duration(rng.Int64N(int64(longest-shortest))), p.Duration-at).Truncate(time.Millisecond),
		}
		deck = slices.Delete(deck, next, next+1)
		if spoiling[e.Kind] {
			sound = e.At + e.For + apart
		}
		e.aim(rng, p.Nodes, busy)
		events = append(events, e)
	}
	return events
}

func gap(rng *rand.Rand, p Plan) time.Duration {
	d := p.MinGap
	if spread := p.MaxGap - p.MinGap; spread > 0 {
		d += time.Duration(rng.Int64N(int64(spread)))
	}
	return max(d, 100*time.Millisecond).Truncate(time.Millisecond)
}

// recovery is how long after a fault its node is left alone by others of its process and disk.
const recovery = 2 * time.Second

// aim draws what a fault hits, and how hard.
func (e *Event) aim(rng *rand.Rand, nodes int, busy []time.Duration) {
	order := rng.Perm(nodes)
	switch e.Kind {
	case RestartAll:
		e.Nodes = slices.Sorted(slices.Values(order))
		e.For = min(e.For, shortest+time.Duration(rng.Int64N(int64(2*time.Second))))
		return
	case Cut, OneWay:
		e.cut(rng, order)
		return
	case Unplug:
	case SyncDelay:
		e.Delay = time.Duration(5+rng.IntN(200)) * time.Millisecond
	case DiskFull:
		e.Room = []int64{256 << 10, 8 << 20, 200 << 20}[rng.IntN(3)]
	}
	at := order[0]
	for _, n := range order {
		if busy[n] <= e.At {
			at = n
			break
		}
	}
	e.Nodes = []int{at}
	busy[at] = max(busy[at], e.At+e.For+recovery)
}

// cut draws a shape: one link, one node from all others, or the cluster in two.
func (e *Event) cut(rng *rand.Rand, order []int) {
	side := 1
	rest := order[1:]
	switch rng.IntN(3) {
	case 0:
		rest = order[1:2]
	case 1:
		if len(order) > 3 {
			side = 2
			rest = order[2:]
		}
	}
	e.Nodes = slices.Clone(order[:side])
	outward := rng.IntN(2) == 0
	for _, a := range e.Nodes {
		for _, b := range rest {
			if e.Kind == Cut || outward {
				e.Links = append(e.Links, Link{a, b})
			}
			if e.Kind == Cut || !outward {
				e.Links = append(e.Links, Link{b, a})
			}
		}
	}
}
