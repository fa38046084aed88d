package state

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Names of the blobs that this package keeps in the node's storage.
const (
	metaDocument  = "cluster/document"
	metaClaims    = "cluster/bucket-claims"
	metaVote      = "founding/vote"
	metaProposal  = "founding/proposal"
	metaAbandoned = "founding/abandoned"
)

// Manager owns a node's copy of the cluster document. Safe for concurrent use.
type Manager struct {
	o   Options
	log *slog.Logger

	// current is what took effect: durable, and what Snapshot shows.
	current atomic.Pointer[published]
	founded chan struct{} // closed once this node belongs to a cluster
	waiting atomic.Pointer[string]

	// turn is held by whoever changes persisted state, across the fsync: a channel and no mutex, so that
	// waiting for it respects a context. acts is held for a whole create, alter or drop, and before turn.
	turn, acts chan struct{}
	self       NodeAttributes             // guarded by turn
	vote       *pb.Vote                   // guarded by turn; nil: not given
	claims     map[string]*pb.BucketEntry // guarded by turn; see claim.go
	// fenced: no claim is granted before this epoch is decided. Changed under turn; see fence.go.
	fenced atomic.Uint64

	founder founder // touched by Run alone

	subscribers struct {
		sync.Mutex
		list []func()
	}

	// Calls that outlive the act that made them: bounded by CallTimeout, ended and waited for by Close.
	calls     sync.WaitGroup
	base      context.Context
	endCalls  context.CancelFunc
	closeOnce sync.Once
}

type published struct {
	doc  *Document
	snap *Snapshot
}

// New reads what the store holds. Errors: *DocumentError, *ConflictError when the directory is of another
// cluster than the configured one, and the store's own.
func New(o Options) (*Manager, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m := &Manager{
		o: o, log: o.Logger,
		founded: make(chan struct{}),
		turn:    make(chan struct{}, 1), acts: make(chan struct{}, 1),
		self: NodeAttributes{ID: o.ID},
	}
	m.base, m.endCalls = context.WithCancel(context.Background())
	if err := m.load(); err != nil {
		m.endCalls()
		return nil, fmt.Errorf("read the cluster's state: %w", err)
	}
	return m, nil
}

func (m *Manager) load() error {
	doc, err := emptyDocument(m.o.Cluster)
	if err != nil {
		return err
	}
	raw, err := m.o.Store.Meta(metaDocument)
	if err != nil {
		return err
	}
	if raw != nil {
		stored, err := DecodeDocument(raw)
		if err != nil {
			return err
		}
		if doc, err = Merge(doc, stored); err != nil {
			return err
		}
	}
	if err := m.checkOwn(doc); err != nil {
		return err
	}
	if doc.Founded() {
		// The process may have ended between the two steps of an adoption.
		if err := m.o.Store.Adopt([16]byte(doc.wire.GetClusterId()), m.o.Cluster); err != nil {
			return err
		}
	}
	if m.vote, err = loadMessage[pb.Vote](m.o.Store, metaVote); err != nil {
		return err
	}
	if err := m.loadClaims(); err != nil {
		return err
	}
	if err := m.founder.load(m.o.Store); err != nil {
		return err
	}
	m.publish(doc)
	return nil
}

// checkOwn refuses a document of another cluster than the one that the data directory names.
func (m *Manager) checkOwn(doc *Document) error {
	if id := doc.wire.GetClusterId(); m.o.ClusterID != ([16]byte{}) && len(id) > 0 && !bytes.Equal(id, m.o.ClusterID[:]) {
		return &ConflictError{"cluster id", fmt.Sprintf("%x", m.o.ClusterID), fmt.Sprintf("%x", id)}
	}
	return nil
}

// loadMessage returns nil when there is no such blob, or an empty one.
func loadMessage[T any, P interface {
	*T
	proto.Message
}](s Store, name string) (P, error) {
	raw, err := s.Meta(name)
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	out := P(new(T))
	if err := proto.Unmarshal(raw, out); err != nil {
		return nil, fmt.Errorf("blob %q: %w", name, err)
	}
	return out, nil
}

// Snapshot is the state that is in effect: one atomic load.
func (m *Manager) Snapshot() *Snapshot { return m.current.Load().snap }

// Document returns the encoded document for peers. The caller must not modify it.
func (m *Manager) Document() []byte { return m.current.Load().doc.Bytes() }

// Fingerprint is equal on two nodes when they hold equal documents.
func (m *Manager) Fingerprint() uint64 { return m.current.Load().doc.Fingerprint() }

// Founded is closed once this node belongs to a cluster.
func (m *Manager) Founded() <-chan struct{} { return m.founded }

// Waiting says for what the founding waits, for people. Empty once founded.
func (m *Manager) Waiting() string {
	if s := m.waiting.Load(); s != nil && !m.Snapshot().Founded() {
		return *s
	}
	return ""
}

// OnChange calls f after each change of the snapshot, without any lock held: from whichever goroutine made
// the change, so perhaps from several at once. f loads Snapshot itself, which may then be newer than the change
// that it was called for, and must not wait.
func (m *Manager) OnChange(f func()) {
	m.subscribers.Lock()
	defer m.subscribers.Unlock()
	m.subscribers.list = append(m.subscribers.list, f)
}

// Close ends calls that outlived their acts and waits for them. Run and acts must have returned before, or
// their contexts be cancelled.
func (m *Manager) Close() {
	m.closeOnce.Do(func() {
		m.endCalls()
		m.calls.Wait()
	})
}

// take waits for a turn. It returns the function that gives it back.
func take(ctx context.Context, turn chan struct{}) (release func(), err error) {
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
