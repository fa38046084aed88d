package coordinator

import (
	"cmp"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// placement is where one item lives, planned once per request at one epoch.
type placement struct {
	token     ring.Token
	partition int
	n         int
	epoch     *ring.Epoch
	// places are the guardians: the first n are owners, the others fallbacks.
	places []ring.NodeID
	health []Health
	self   int // the own place, -1 when the node is no guardian
}

// place plans a request; nodes in avoid count as down whatever their health.
func (c *Coordinator) place(item causal.ItemKey, n int, avoid []ring.NodeID) *placement {
	epoch := c.Cluster.Epoch()
	token := ring.TokenOf(item.Bucket, item.Partition)
	return c.placeAt(epoch, token, epoch.Base.PartitionOf(token), n, avoid)
}

func (c *Coordinator) placeAt(epoch *ring.Epoch, token ring.Token, partition, n int, avoid []ring.NodeID) *placement {
	pl := &placement{token: token, partition: partition, epoch: epoch, self: -1}
	pl.places = epoch.Base.Guardians(partition, n)
	pl.n = min(n, len(pl.places))
	pl.health = make([]Health, len(pl.places))
	for i, id := range pl.places {
		switch {
		case id == c.Cluster.Self:
			pl.self = i
		case slices.Contains(avoid, id):
			pl.health[i] = Down
		default:
			pl.health[i] = c.Cluster.Health(id)
		}
	}
	return pl
}

// usable tells for each place whether a request should count on it. A strict quorum needs every owner that can be
// reached, slow ones too. A sloppy one goes round those that are slow, but only while enough others are there to
// take their part: when everything is slow, it is the load, and refusing would help nobody.
func (pl *placement) usable(strict bool) []bool {
	up := make([]bool, len(pl.places))
	quick := 0
	for i, h := range pl.health {
		up[i] = h == Up
		if up[i] {
			quick++
		}
	}
	for i, h := range pl.health {
		if h == Slow && (strict || quick < pl.n) {
			up[i] = true
			quick++
		}
	}
	return up
}

// live counts the places that could count towards a quorum.
func (pl *placement) live(strict bool) int {
	live := 0
	for i, ok := range pl.usable(strict) {
		if ok && (i < pl.n || !strict) {
			live++
		}
	}
	return min(live, pl.n)
}

// Route is where a write may be coordinated.
type Route struct {
	// Owner: this node owns the item and coordinates, unless its disk has no room; Others and Last are then left.
	Owner bool
	// Others to hand the request to, best first. A write that reached none of them may be
	// coordinated here when Guardian is set.
	Others   []ring.NodeID
	Guardian bool
	// Last are nodes that are slow: to be tried when nobody else will.
	Last []ring.NodeID
	Live int
}

// Route tells who may coordinate a write of the item: its owners, because they hold it, so that
// what they mint stands on all they have seen. Only when none can be reached does a sloppy write
// go to a fallback.
func (c *Coordinator) Route(item causal.ItemKey, n int, strict bool) Route {
	pl := c.place(item, n, nil)
	owner := pl.self >= 0 && pl.self < pl.n
	r := Route{Owner: owner, Guardian: pl.self >= 0 && !owner && !strict, Live: pl.live(strict)}
	for _, id := range c.bySpeed(pl.places[:pl.n]) {
		switch {
		case id == c.Cluster.Self:
		case pl.healthOf(id) == Up:
			r.Others = append(r.Others, id)
		case pl.healthOf(id) == Slow:
			r.Last = append(r.Last, id)
		}
	}
	if strict || r.Guardian {
		return r
	}
	for i := pl.n; i < len(pl.places); i++ {
		switch pl.health[i] {
		case Up:
			r.Others = append(r.Others, pl.places[i])
		case Slow:
			r.Last = append(r.Last, pl.places[i])
		}
	}
	return r
}

func (pl *placement) healthOf(id ring.NodeID) Health {
	return pl.health[slices.Index(pl.places, id)]
}

// bySpeed orders nodes by what they took of late, this node first, unknown ones before slow ones.
func (c *Coordinator) bySpeed(nodes []ring.NodeID) []ring.NodeID {
	out := slices.Clone(nodes)
	took := func(id ring.NodeID) time.Duration {
		if id == c.Cluster.Self {
			return -1
		}
		return c.Cluster.Latency(id)
	}
	slices.SortStableFunc(out, func(a, b ring.NodeID) int { return cmp.Compare(took(a), took(b)) })
	return out
}

// candidate is a node that a read may ask.
type candidate struct {
	node    ring.NodeID
	hintFor ring.NodeID // the owner that it stands in for
}

func (t candidate) fallback() bool { return !t.hintFor.IsZero() }

// readers lists whom a read may ask, in the order in which it does: owners by speed, slow ones
// last; then, for a sloppy read, the fallbacks that would have taken writes in the place of owners
// that can't be reached. owners is the number of owners among them.
func (c *Coordinator) readers(pl *placement, strict bool) (list []candidate, owners int) {
	var fast, slow []ring.NodeID
	for i, id := range pl.places[:pl.n] {
		switch pl.health[i] {
		case Up:
			fast = append(fast, id)
		case Slow:
			slow = append(slow, id)
		}
	}
	for _, id := range c.bySpeed(fast) {
		list = append(list, candidate{node: id})
	}
	usable := pl.usable(strict)
	for _, id := range slow {
		if usable[slices.Index(pl.places, id)] {
			list = append(list, candidate{node: id})
		}
	}
	var alone ring.NodeID // a slow owner that is asked all the same, and so needs nobody in its stead
	if len(list) == 0 && len(slow) > 0 {
		// Fallbacks alone can't tell that there is nothing: one owner takes part, however slow.
		alone = slow[0]
		list = append(list, candidate{node: alone})
	}
	owners = len(list)
	if strict {
		return list, owners
	}
	for _, t := range pl.epoch.Base.Preflist(pl.partition, pl.n, func(id ring.NodeID) bool {
		i := slices.Index(pl.places, id)
		return i >= 0 && usable[i]
	}) {
		if !t.HintFor.IsZero() && t.HintFor != alone {
			list = append(list, candidate{node: t.Node, hintFor: t.HintFor})
		}
	}
	return list, owners
}
