package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// Names of the blobs that this package keeps in the node's storage.
const (
	metaDocument  = "cluster/document"
	metaClaims    = "cluster/bucket-claims"
	metaVote      = "founding/vote"
	metaProposal  = "founding/proposal"
	metaAbandoned = "founding/abandoned"
)

// Store is what this package needs of the node's storage. Each method returns once its change is durable.
type Store interface {
	SetMeta(name string, value []byte) error
	// Meta returns nil when there is no blob of that name.
	Meta(name string) ([]byte, error)
	// Adopt binds the directory to the cluster. Doing it again with the same id changes nothing.
	Adopt(clusterID [16]byte, cluster string) error
}

// Options are what a Manager is made of. Defaults stand behind the fields; the others are required.
type Options struct {
	// ID is this node's, Cluster the configured name of its cluster.
	ID      ring.NodeID
	Cluster string
	// ClusterID is what the data directory names, zero when it belongs to no cluster yet. A node that has
	// one never founds another.
	ClusterID [16]byte
	// Expect is --bootstrap-expect: how many nodes found the cluster. 0: this node takes no part in that.
	Expect int
	// Founder: this node is the one that proposes (see IsFounder).
	Founder bool
	// Partitions is the number of the ring's partitions that a founder proposes. 256.
	Partitions int
	// Interval between steps of the founding. 250 ms.
	Interval time.Duration
	// CallTimeout bounds one exchange with a peer. 2 s.
	CallTimeout time.Duration

	Store Store
	// HLC returns a new timestamp of the node's clock, above after.
	HLC func(after causal.HLC) (causal.HLC, error)
	// Rand yields the ids of clusters and proposals: crypto/rand.Reader outside tests.
	Rand io.Reader
	// Live reports whether a member seems reachable.
	Live func(ring.NodeID) bool
	// Candidates lists the other nodes of the configured cluster name that are alive, founded or not.
	Candidates func() []Candidate
	// Push and Propose send one request to a peer and return its reply. They respect ctx.
	Push    func(ctx context.Context, to ring.NodeID, req *pb.PushState) (*pb.PushStateReply, error)
	Propose func(ctx context.Context, to ring.NodeID, req *pb.Propose) (*pb.ProposeReply, error)
	// Logger: nil discards.
	Logger *slog.Logger
}

// EnsureDefaults fills the fields that have a default.
func (o *Options) EnsureDefaults() {
	if o.Partitions == 0 {
		o.Partitions = 256
	}
	if o.Interval == 0 {
		o.Interval = 250 * time.Millisecond
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 2 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports the first field that can't be.
func (o *Options) Validate() error {
	switch {
	case o.ID.IsZero():
		return errors.New("cluster state: no node id")
	case o.Cluster == "" || len(o.Cluster) > maxName:
		return fmt.Errorf("cluster state: the cluster's name has %d bytes, must have 1 to %d", len(o.Cluster), maxName)
	case o.Expect < 0 || o.Expect > maxNodes:
		return fmt.Errorf("cluster state: bootstrap-expect is %d, must be 0 to %d", o.Expect, maxNodes)
	case o.Store == nil || o.HLC == nil || o.Rand == nil || o.Live == nil || o.Candidates == nil || o.Push == nil || o.Propose == nil:
		return errors.New("cluster state: a required function is missing")
	}
	return nil
}

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
