package state

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// maxHistory bounds how many changes of the epoch a document remembers.
const maxHistory = 64

// EpochChange says how an epoch came about.
type EpochChange struct {
	Number uint64
	// Kind is begun, committed or aborted.
	Kind pb.EpochChange_Kind
	// From and To are the versions of the layouts that the move is between.
	From, To uint64
	// At is the HLC of the first node that is known to have installed it.
	At uint64
}

// Install makes a decided epoch part of the document: durable, then visible, then told to the subscribers. Installing it
// again, or one that is older than the newest, changes nothing. A *ConflictError if the number stands for another epoch
// here, or if it can't have come of the one here.
func (m *Manager) Install(ctx context.Context, e *ring.Epoch) error {
	_, err := m.update(ctx, func(own *Document) (*Document, error) {
		if !own.Founded() {
			return nil, ErrNotFounded
		}
		// A clock that can't be read must not keep an epoch away: that others have written when it came will do.
		at, err := m.o.HLC(0)
		if err != nil {
			m.log.Warn("the history of the ring lacks a time", "epoch", e.Number, "error", err)
		}
		return own.withEpoch(e, uint64(at))
	})
	if err != nil {
		return fmt.Errorf("install epoch %d: %w", e.Number, err)
	}
	return nil
}

// withEpoch returns a copy in which e is the newest epoch, or d itself if e brings nothing new.
func (d *Document) withEpoch(e *ring.Epoch, at uint64) (*Document, error) {
	out := &Document{wire: &pb.ClusterDocument{
		Name: d.wire.GetName(), ClusterId: d.wire.GetClusterId(), Incarnation: d.wire.GetIncarnation(),
		Buckets: d.wire.GetBuckets(), Nodes: d.wire.GetNodes(), History: d.wire.GetHistory(),
	}}
	next := &Document{newest: e, wire: &pb.ClusterDocument{Epochs: map[uint64][]byte{e.Number: ring.AppendEpoch(nil, e)}}}
	if err := mergeEpochs(out, d, next); err != nil {
		return nil, err
	}
	if out.newest == d.newest {
		return d, nil
	}
	if change := changeOf(d.newest, e, at); change != nil {
		out.wire.History = mergeHistory(d.wire.GetHistory(), map[uint64]*pb.EpochChange{e.Number: change})
	}
	return out, out.seal()
}

// mergeEpochs keeps the later of two epochs. One number has one content, for ever, and of two numbers the later must be
// able to come of the earlier.
func mergeEpochs(out, a, b *Document) error {
	early, late := a, b
	if a.newest != nil && (b.newest == nil || b.newest.Number <= a.newest.Number) {
		early, late = b, a
	}
	out.newest, out.wire.Epochs = late.newest, late.wire.GetEpochs()
	if early.newest == nil {
		return nil
	}
	n := late.newest.Number
	if x, y := early.wire.GetEpochs()[n], late.wire.GetEpochs()[n]; early.newest.Number == n && !bytes.Equal(x, y) {
		have, got := len(a.wire.GetEpochs()[n]), len(b.wire.GetEpochs()[n])
		return &ConflictError{fmt.Sprintf("epoch %d", n), fmt.Sprintf("%d bytes", have), fmt.Sprintf("%d other bytes", got)}
	}
	if why := cameOf(early.newest, late.newest); why != "" {
		return &ConflictError{"the ring's past", fmt.Sprintf("epoch %d", a.newest.Number), fmt.Sprintf("epoch %d, and %s", b.newest.Number, why)}
	}
	return nil
}

// cameOf says why late can't have come of early, which is of a lower number or the same; empty if it can. Of epochs that
// were missed no more is checked than that layouts don't go back: a layout in force has a higher version than all before.
func cameOf(early, late *ring.Epoch) string {
	switch {
	case late.Number == early.Number:
		return ""
	case late.Number == early.Number+1:
		if err := early.Follows(late); err != nil {
			return err.Error()
		}
	case late.Base.Version() < early.Base.Version() || late.Base.Partitions() < early.Base.Partitions():
		return fmt.Sprintf("its layout %d of %d partitions is older than layout %d of %d", late.Base.Version(), late.Base.Partitions(),
			early.Base.Version(), early.Base.Partitions())
	case late.Base.Version() == early.Base.Version() && !late.Base.Equal(early.Base):
		return fmt.Sprintf("its layout %d is another one", late.Base.Version())
	}
	return ""
}

// keepNewest drops all epochs but the newest from a document that nobody else knows yet.
func (d *Document) keepNewest() {
	n := d.newest.Number
	d.wire.Epochs = map[uint64][]byte{n: d.wire.GetEpochs()[n]}
}

// changeOf says how an epoch came of the one before it; nil if that is not known, or when is not.
func changeOf(before, e *ring.Epoch, at uint64) *pb.EpochChange {
	if before == nil || at == 0 || e.Number != before.Number+1 {
		return nil
	}
	c := &pb.EpochChange{Kind: pb.EpochChange_KIND_BEGUN, FromVersion: before.Base.Version(), AtHlc: at}
	if e.Joint() {
		c.ToVersion = e.Next.Version()
		return c
	}
	c.ToVersion = before.Next.Version()
	if c.Kind = pb.EpochChange_KIND_COMMITTED; e.Base.Equal(before.Base) {
		c.Kind = pb.EpochChange_KIND_ABORTED
	}
	return c
}

// mergeHistory unites what two documents remember and keeps the last of it. What is forgotten on one side has enough later
// changes on that side, so the order of merges makes no difference.
func mergeHistory(a, b map[uint64]*pb.EpochChange) map[uint64]*pb.EpochChange {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(a)
	if out == nil {
		out = make(map[uint64]*pb.EpochChange, len(b))
	}
	for n, c := range b {
		if have, ok := out[n]; !ok || cmp.Or(cmp.Compare(c.GetAtHlc(), have.GetAtHlc()), compareMessages(c, have)) < 0 {
			out[n] = c
		}
	}
	if numbers := slices.Sorted(maps.Keys(out)); len(numbers) > maxHistory {
		for _, n := range numbers[:len(numbers)-maxHistory] {
			delete(out, n)
		}
	}
	return out
}

// checkHistory checks what a document with an id remembers.
func checkHistory(d *pb.ClusterDocument) error {
	if n := len(d.GetHistory()); n > maxHistory {
		return &DocumentError{What: fmt.Sprintf("remembers %d changes of the epoch, at most %d are allowed", n, maxHistory)}
	}
	for n, c := range d.GetHistory() {
		kind := c.GetKind()
		known := kind == pb.EpochChange_KIND_BEGUN || kind == pb.EpochChange_KIND_COMMITTED || kind == pb.EpochChange_KIND_ABORTED
		if n == 0 || !known || c.GetToVersion() <= c.GetFromVersion() || c.GetAtHlc() == 0 {
			return &DocumentError{What: fmt.Sprintf("remembers of epoch %d what can't be", n)}
		}
		for newest := range d.GetEpochs() {
			if n > newest {
				return &DocumentError{What: fmt.Sprintf("remembers epoch %d, but its newest is %d", n, newest)}
			}
		}
	}
	return nil
}

// history lists what the document remembers, oldest first.
func (d *Document) history() []EpochChange {
	var out []EpochChange
	for _, n := range slices.Sorted(maps.Keys(d.wire.GetHistory())) {
		c := d.wire.GetHistory()[n]
		out = append(out, EpochChange{Number: n, Kind: c.GetKind(), From: c.GetFromVersion(), To: c.GetToVersion(), At: c.GetAtHlc()})
	}
	return out
}
