package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// remembered are the bounds of members' clocks that their processes have named: whose disk is put back to an older image does
// not reach them. It is kept on disk, so that a power cut of all nodes does not make them forget together.
type remembered struct {
	mu      sync.Mutex
	by      map[ring.NodeID]toldBound // bounded by the members
	changed bool                      // since it was last saved
}

// toldBound is what is known of one member.
type toldBound struct {
	process         uint64
	superseded      [4]uint64 // processes before it, the last first
	bound, previous causal.HLC
}

// tell notes the bound that a process of a member has named, and returns the highest that earlier processes of it have named.
func (r *remembered) tell(id ring.NodeID, process uint64, bound causal.HLC) causal.HLC {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = make(map[ring.NodeID]toldBound)
	}
	t := r.by[id]
	if slices.Contains(t.superseded[:], process) {
		return t.previous // a late message
	}
	before := t
	if t.process != process {
		t.previous = max(t.previous, t.bound)
		t.bound = 0
		copy(t.superseded[1:], t.superseded[:])
		t.superseded[0], t.process = t.process, process
	}
	t.bound = max(t.bound, bound)
	r.changed = r.changed || t != before
	r.by[id] = t
	return t.previous
}

const (
	rememberedDocument = "node/remembered"
	rememberedFormat   = 1
	rememberedSize     = len(ring.NodeID{}) + 7*8 // of one member
	// rememberEvery bounds what of it is not on disk yet.
	rememberEvery = 10 * time.Second
)

// take returns the encoding if there is something new: format, then for each member, ascending, its id, process,
// superseded processes, bound and previous bound. After a failure to save it, it is to be given back.
func (r *remembered) take() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.changed {
		return nil
	}
	r.changed = false
	b := []byte{rememberedFormat}
	for _, id := range slices.SortedFunc(maps.Keys(r.by), ring.NodeID.Compare) {
		t := r.by[id]
		b = append(b, id[:]...)
		for _, n := range append([]uint64{t.process}, t.superseded[:]...) {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		b = binary.BigEndian.AppendUint64(b, uint64(t.bound))
		b = binary.BigEndian.AppendUint64(b, uint64(t.previous))
	}
	return b
}

func (r *remembered) giveBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = true
}

// decodeRemembered is the reverse of take.
func decodeRemembered(b []byte) (map[ring.NodeID]toldBound, error) {
	if len(b) == 0 || b[0] != rememberedFormat || (len(b)-1)%rememberedSize != 0 {
		return nil, fmt.Errorf("what is remembered of members' clocks: %d bytes, not of format %d", len(b), rememberedFormat)
	}
	out := make(map[ring.NodeID]toldBound)
	last := ring.NodeID{}
	for b = b[1:]; len(b) > 0; b = b[rememberedSize:] {
		id := ring.NodeID(b)
		if bytes.Compare(id[:], last[:]) <= 0 {
			return nil, errors.New("what is remembered of members' clocks: members out of order")
		}
		last = id
		number := func(i int) uint64 { return binary.BigEndian.Uint64(b[len(id)+8*i:]) }
		t := toldBound{process: number(0), bound: causal.HLC(number(5)), previous: causal.HLC(number(6))}
		for i := range t.superseded {
			t.superseded[i] = number(1 + i)
		}
		out[id] = t
	}
	return out, nil
}

// loadRemembered reads what an earlier process has kept. If that is damaged, the others remember too.
func (n *Node) loadRemembered() error {
	b, err := n.store.Meta(rememberedDocument)
	if damaged, ok := errors.AsType[*storage.CorruptError](err); ok {
		n.log.Warn("what this node remembered of members' clocks can't be read; it begins anew", "error", damaged)
		return nil
	}
	if err != nil || b == nil {
		return err
	}
	n.vouching.told.by, err = decodeRemembered(b)
	return err
}

// rememberLoop keeps on disk what members have told.
func (n *Node) rememberLoop(ctx context.Context) {
	ticker := time.NewTicker(rememberEvery)
	defer ticker.Stop()
	failing := false
	for ctx.Err() == nil {
		select {
		case <-ctx.Done(): // once more, for an orderly stop
		case <-ticker.C:
		}
		b := n.vouching.told.take()
		if b == nil {
			continue
		}
		err := n.store.SetMeta(rememberedDocument, b)
		if err != nil {
			n.vouching.told.giveBack()
		}
		if err != nil && !failing {
			n.log.Warn("what members told of their clocks could not be saved", "error", err)
		}
		failing = err != nil
	}
}
