package coordinator

import (
	"cmp"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator/quorum"
	"github.com/starling-db/starling/ring"
)

// placement is where one item lives, planned once per request at one epoch.
type placement struct {
	token     ring.Token
	partition int
	n         int
	epoch     *ring.Epoch
	// places are the guardians: first the owners, then the fallbacks. In a move they are those of both layouts.
	places []ring.NodeID
	owners int
	sides  []quorum.Side // in a move: the owners of each layout
	health []Health
	self   int // the own place, -1 when the node is no guardian
}

// place plans a request; nodes in avoid count as down whatever their health.
func (c *Coordinator) place(item causal.ItemKey, n int, avoid []ring.NodeID) *placement {
	return c.placeAt(ring.TokenOf(item.Bucket, item.Partition), n, avoid)
}

func (c *Coordinator) placeAt(token ring.Token, n int, avoid []ring.NodeID) *placement {
	epoch := c.Cluster.Epoch()
	pl := &placement{token: token, partition: epoch.PartitionOf(token), epoch: epoch, self: -1}
	if epoch.Joint() {
		pl.join(n)
	} else {
		pl.places = epoch.Guardians(pl.partition, n)
		pl.n = min(n, len(pl.places))
		pl.owners = pl.n
	}
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
		if h == Slow && (strict || quick < pl.owners) {
			up[i] = true
			quick++
		}
	}
	return up
}

// live counts the places that could count towards a quorum, on the side where they are fewest.
func (pl *placement) live(strict bool) int {
	usable := pl.usable(strict)
	live := func(owner func(int) bool) int {
		live := 0
		for i, ok := range usable {
			if ok && (i < pl.owners && owner(i) || i >= pl.owners && !strict) {
				live++
			}
		}
		return min(live, pl.n)
	}
	if pl.sides == nil {
		return live(func(int) bool { return true })
	}
	return min(live(pl.sides[0].Places.Has), live(pl.sides[1].Places.Has))
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
// what they mint stands on all they have seen. In a move those of either layout may, and those of both
// come first. Only when none can be reached does a sloppy write go to a fallback.
func (c *Coordinator) Route(item causal.ItemKey, n int, strict bool) Route {
	pl := c.place(item, n, nil)
	owner := pl.self >= 0 && pl.self < pl.owners
	r := Route{Owner: owner, Guardian: pl.self >= 0 && !owner && !strict, Live: pl.live(strict)}
	for _, id := range pl.inBothFirst(c.bySpeed(pl.places[:pl.owners])) {
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
	for i := pl.owners; i < len(pl.places); i++ {
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
