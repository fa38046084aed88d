package client

import (
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// topology is what one Ring call told, immutable.
type topology struct {
	epoch *ring.Epoch
	// rows are in the server's order.
	rows    []nodeRow
	byID    map[ring.NodeID]nodeRow
	buckets map[string]bucketRow
}

// nodeRow is what routing knows of a node.
type nodeRow struct {
	addr  string
	grade grade
}

type bucketRow struct {
	id uint64
	n  int
}

// grade orders the nodes that might take a call; lower is better.
type grade uint8

const (
	gradeAlive grade = iota
	gradeSuspect
	gradeDead
	grades
)

func gradeOf(l pb.Liveness) grade {
	switch l {
	case pb.Liveness_LIVENESS_ALIVE:
		return gradeAlive
	case pb.Liveness_LIVENESS_DEAD, pb.Liveness_LIVENESS_LEFT:
		return gradeDead
	}
	return gradeSuspect
}

// newTopology decodes a Ring reply. A reply without an epoch keeps the one of previous, if that has
// the same number. A node that waits for its cluster has neither: calls go to any node then.
func newTopology(reply *pb.RingResponse, previous *topology) (*topology, error) {
	t := &topology{
		rows:    make([]nodeRow, 0, len(reply.GetNodes())),
		byID:    make(map[ring.NodeID]nodeRow, len(reply.GetNodes())),
		buckets: make(map[string]bucketRow, len(reply.GetBuckets())),
	}
	switch {
	case len(reply.GetEpoch()) > 0:
		epoch, err := ring.DecodeEpoch(reply.GetEpoch())
		if err != nil {
			return nil, err
		}
		t.epoch = epoch
	case previous != nil && previous.epoch != nil && previous.epoch.Number == reply.GetNumber():
		t.epoch = previous.epoch
	}
	for _, n := range reply.GetNodes() {
		if n.GetClientAddr() == "" {
			continue
		}
		row := nodeRow{addr: n.GetClientAddr(), grade: gradeOf(n.GetLiveness())}
		t.rows = append(t.rows, row)
		if len(n.GetId()) == len(ring.NodeID{}) {
			t.byID[ring.NodeID(n.GetId())] = row
		}
	}
	for _, b := range reply.GetBuckets() {
		t.buckets[b.GetName()] = bucketRow{id: b.GetId(), n: int(b.GetN())}
	}
	return t, nil
}

// bucketNames are the buckets' names by their ids.
func (t *topology) bucketNames() map[uint64]string {
	names := make(map[uint64]string, len(t.buckets))
	for name, b := range t.buckets {
		names[b.id] = name
	}
	return names
}

// known is the number of the epoch, which need not be sent again; nil when there is none.
func (t *topology) known() *uint64 {
	if t.epoch == nil {
		return nil
	}
	return &t.epoch.Number
}

// preference returns the members of the ring in the order in which they should take a call for a
// partition key: owners, then fallbacks. owners is how many of them are owners. While a move is under way
// those of either layout are, and those of both come first. Nothing when ring or bucket is not known.
func (t *topology) preference(bucket string, partition []byte) (rows []nodeRow, owners int) {
	b, ok := t.buckets[bucket]
	if !ok || t.epoch == nil {
		return nil, 0
	}
	p := t.epoch.PartitionOf(ring.TokenOf(b.id, partition))
	active := len(t.epoch.ActiveOwners(p, b.n))
	ids := t.epoch.Preference(p, b.n)
	rows = make([]nodeRow, 0, len(ids))
	for i, id := range ids {
		row, ok := t.byID[id]
		if !ok {
			continue
		}
		rows = append(rows, row)
		if i < active {
			owners++
		}
	}
	return rows, owners
}

// target is what a call is about, as far as routing cares. A zero partition means any node.
type target struct {
	bucket    string
	partition []byte
	// spread lets the owners take turns; else the first live one takes it, so that writes of one item
	// meet in one place.
	spread bool
	// seedsFirst asks the nodes that were given to Open, in that order: whoever names a node to look at
	// the cluster wants that node's view.
	seedsFirst bool
}

// route returns every known address, each once, in the order in which a call for the target should
// try them: alive owners, other alive nodes, suspects, addresses given to Open, the dead. Within that
// order, nodes that failed a moment ago come last. It is never empty.
func (c *Client) route(to target) []string {
	t := c.topology.Load()
	var rows []nodeRow
	owners := 0
	if to.partition != nil {
		rows, owners = t.preference(to.bucket, to.partition)
	}
	if len(rows) == 0 {
		rows, owners, to.spread = t.rows, len(t.rows), true
	}
	turn := 0
	if to.spread && owners > 0 {
		turn = int(c.turn.Add(1) % uint64(owners))
	}
	r := router{now: time.Now(), pool: c.pool, seen: make(map[string]bool, len(rows)+len(c.seeds))}
	if to.seedsFirst {
		r.addAll(c.seeds)
	}
	for g := gradeAlive; g < grades; g++ {
		if g == gradeDead {
			r.addAll(c.seeds)
		}
		for i := range rows {
			at := i
			if i < owners {
				at = (i + turn) % owners
			}
			if rows[at].grade == g {
				r.add(rows[at].addr)
			}
		}
	}
	return append(r.first, r.last...)
}

// router collects a route.
type router struct {
	now         time.Time
	pool        *pool
	seen        map[string]bool
	first, last []string
}

func (r *router) add(addr string) {
	if r.seen[addr] {
		return
	}
	r.seen[addr] = true
	if r.pool.avoided(addr, r.now) {
		r.last = append(r.last, addr)
		return
	}
	r.first = append(r.first, addr)
}

func (r *router) addAll(addrs []string) {
	for _, addr := range addrs {
		r.add(addr)
	}
}
