package state

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Offer merges an encoded document that came from a peer or by gossip; changed says whether it brought
// anything. A node that belongs to no cluster yet takes over the document of a cluster that names it as a
// member, and nothing else (ErrNotMember). Other errors: *DocumentError, *ConflictError, the store's own.
func (m *Manager) Offer(ctx context.Context, doc []byte) (changed bool, err error) {
	if slices.Equal(doc, m.Document()) {
		return false, nil
	}
	d, err := DecodeDocument(doc)
	if err != nil {
		return false, err
	}
	return m.offer(ctx, d)
}

func (m *Manager) offer(ctx context.Context, d *Document) (changed bool, err error) {
	return m.update(ctx, func(own *Document) (*Document, error) {
		merged, err := Merge(own, d)
		if err != nil {
			return nil, err
		}
		switch {
		case !d.Founded():
			return own, nil // what an unfounded node knows travels by gossip alone
		case !own.Founded() && !d.Names(m.o.ID):
			return nil, ErrNotMember
		}
		return merged, m.checkOwn(merged)
	})
}

// SetSelf says what this node's own attributes are now; its id and generation are set here. It must be called
// before Run.
func (m *Manager) SetSelf(ctx context.Context, self NodeAttributes) error {
	release, err := take(ctx, m.turn)
	if err != nil {
		return err
	}
	self.ID = m.o.ID
	m.self = self
	release()
	_, err = m.update(ctx, func(own *Document) (*Document, error) { return own, nil })
	return err
}

// Self returns this node's own attributes with their present generation, for gossip.
func (m *Manager) Self() NodeAttributes { return m.Snapshot().Nodes[m.o.ID] }

// update applies change to the document, makes the result durable and then visible, and tells the subscribers.
// change may return its argument; it must not modify it.
func (m *Manager) update(ctx context.Context, change func(*Document) (*Document, error)) (changed bool, err error) {
	release, err := take(ctx, m.turn)
	if err != nil {
		return false, err
	}
	changed, err = m.updateLocked(change)
	release()
	if changed {
		m.notify()
	}
	return changed, err
}

func (m *Manager) updateLocked(change func(*Document) (*Document, error)) (changed bool, err error) {
	own := m.current.Load().doc
	next, err := change(own)
	if err != nil {
		return false, err
	}
	if next, err = m.assertSelf(next); err != nil {
		return false, err
	}
	if next == own {
		return false, nil
	}
	if err := m.o.Store.SetMeta(metaDocument, next.Bytes()); err != nil {
		return false, fmt.Errorf("persist the cluster's state: %w", err)
	}
	// The document first: load completes an adoption that ended here.
	if next.Founded() && !own.Founded() {
		if err := m.o.Store.Adopt([16]byte(next.wire.GetClusterId()), m.o.Cluster); err != nil {
			return false, fmt.Errorf("adopt cluster %x: %w", next.wire.GetClusterId(), err)
		}
	}
	m.publish(next)
	return true, nil
}

// assertSelf puts this node's own entry right: only the node itself writes it. An entry of it that came back
// from elsewhere (its disk was restored) is overwritten with a higher generation.
func (m *Manager) assertSelf(d *Document) (*Document, error) {
	if m.self.Name == "" {
		return d, nil // SetSelf was not called yet
	}
	key := hex.EncodeToString(m.o.ID[:])
	have := d.wire.GetNodes()[key]
	want := m.self
	want.Generation = have.GetGeneration()
	if have != nil && NodeAttributesOf(have) == want {
		return d, nil
	}
	want.Generation++
	return d.with(func(w *pb.ClusterDocument) {
		w.Nodes = maps.Clone(w.Nodes)
		if w.Nodes == nil {
			w.Nodes = make(map[string]*pb.NodeAttributes)
		}
		w.Nodes[key] = want.Proto()
	})
}

// with returns a changed copy. change gets a shallow copy of the message: it replaces maps, never writes to
// them. The epoch must stay as it is; withEpoch changes it.
func (d *Document) with(change func(*pb.ClusterDocument)) (*Document, error) {
	w := &pb.ClusterDocument{
		Name: d.wire.GetName(), ClusterId: d.wire.GetClusterId(), Incarnation: d.wire.GetIncarnation(),
		Epochs: d.wire.GetEpochs(), Buckets: d.wire.GetBuckets(), Nodes: d.wire.GetNodes(), History: d.wire.GetHistory(),
	}
	change(w)
	if err := checkDocument(w); err != nil {
		return nil, err
	}
	next := &Document{wire: w, newest: d.newest}
	return next, next.seal()
}

// withEntry returns a copy that holds e as well.
func (d *Document) withEntry(e *pb.BucketEntry) (*Document, error) {
	return d.with(func(w *pb.ClusterDocument) {
		name := e.GetBucket().GetName()
		w.Buckets = mergeMaps(w.GetBuckets(), map[string]*pb.BucketEntry{name: e}, compareEntries)
	})
}

// publish makes a durable document visible. The caller has the turn, or is the only one to know m yet.
func (m *Manager) publish(d *Document) {
	before := m.current.Swap(&published{doc: d, snap: newSnapshot(d)})
	if d.Founded() && (before == nil || !before.doc.Founded()) {
		close(m.founded)
	}
}

func (m *Manager) notify() {
	m.subscribers.Lock()
	list := slices.Clone(m.subscribers.list)
	m.subscribers.Unlock()
	for _, f := range list {
		f()
	}
}

// setMessage persists msg under name; nil clears it.
func (m *Manager) setMessage(name string, msg proto.Message) error {
	var raw []byte
	if msg != nil && msg.ProtoReflect().IsValid() {
		var err error
		if raw, err = proto.Marshal(msg); err != nil {
			return fmt.Errorf("encode %q: %w", name, err)
		}
	}
	if err := m.o.Store.SetMeta(name, raw); err != nil {
		return fmt.Errorf("persist %q: %w", name, err)
	}
	return nil
}
