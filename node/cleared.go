package node

import (
	"slices"
	"sync"

	"github.com/starling-db/starling/antientropy"
	"github.com/starling-db/starling/ring"
)

// cleared remembers, for the parts that this node leads rounds of, which members have attested since the ring changed that they
// hold no old hint.
//
// Whoever was a guardian by an earlier layout may hold hints from that time, and nobody keeps count of who that was. So after a
// change of the ring a part's rounds ask every member, until each of them has attested once without such a hint: from then on it
// can come by one only as a guardian of the present layout, and those are asked each time. It is in memory alone: another
// leader, or process, asks all members once more, which costs messages and no truth.
type cleared struct {
	mu    sync.Mutex
	epoch uint64
	parts map[antientropy.Part]map[ring.NodeID]bool // bounded by the parts and the members of one epoch
}

// at forgets what was noted at another epoch. The caller has the mutex.
func (c *cleared) at(epoch uint64) {
	if c.epoch != epoch || c.parts == nil {
		c.epoch, c.parts = epoch, make(map[antientropy.Part]map[ring.NodeID]bool)
	}
}

// guardians are the nodes that a round of a part needs: its guardians, and the members that may have been one before.
func (c *cleared) guardians(epoch *ring.Epoch, part antientropy.Part, members []ring.Member) []ring.NodeID {
	now := epoch.Guardians(part.Partition, part.N)
	if epoch.Number == 0 {
		return now
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at(epoch.Number)
	out := slices.Clone(now)
	for _, m := range members {
		if !c.parts[part][m.ID] && !slices.Contains(now, m.ID) {
			out = append(out, m.ID)
		}
	}
	return out
}

// attested notes what a node has attested at an epoch; hinted are the indexes of the parts of which it holds old hints.
func (c *cleared) attested(epoch uint64, id ring.NodeID, parts []antientropy.Part, hinted []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch == 0 || epoch < c.epoch {
		return
	}
	c.at(epoch)
	for i, p := range parts {
		if slices.Contains(hinted, i) {
			continue
		}
		if c.parts[p] == nil {
			c.parts[p] = make(map[ring.NodeID]bool)
		}
		c.parts[p][id] = true
	}
}
