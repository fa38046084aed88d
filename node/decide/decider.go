package decide

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/starling-db/starling/internal/paxos"
	"github.com/starling-db/starling/ring"
)

// metaRecord names the acceptor's record in the node's storage.
const metaRecord = "cluster/decision"

// Decider is a node's part in deciding epochs. Safe for concurrent use.
type Decider struct {
	o Options

	// turn is held across the fsync of a record, so that records are written in their order: a channel and no mutex, so that
	// waiting for it respects a context.
	turn     chan struct{}
	acceptor *paxos.Acceptor // guarded by turn; nil while this node must learn what it once knew
	stopped  error           // guarded by turn: a write has failed

	proposing chan struct{} // held for a whole proposal: two of one node would only preempt each other

	// What outlives the proposal that began it. Ended and waited for by Close.
	tells sync.WaitGroup
	base  context.Context
	end   context.CancelFunc
}

// New reads the acceptor's record. It is called before the node answers peers: an acceptance on disk may forbid claims.
// Errors are those of the options and of the store, and *paxos.RecordError.
func New(o Options) (*Decider, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	d := &Decider{o: o, turn: make(chan struct{}, 1), proposing: make(chan struct{}, 1)}
	d.base, d.end = context.WithCancel(context.Background())
	if d.epoch() == nil {
		return d, nil
	}
	if _, err := d.open(d.base); err != nil && !errors.Is(err, paxos.ErrSetup) {
		d.end()
		return nil, fmt.Errorf("read what this node promised about the next epoch: %w", err)
	}
	return d, nil
}

// Close ends what outlived proposals and waits for it. No proposal may be under way, or it must be about to end.
func (d *Decider) Close() {
	d.end()
	d.tells.Wait()
}

// epoch is the newest that is known to be decided; nil before the founding.
func (d *Decider) epoch() *ring.Epoch { return d.o.State.Snapshot().Epoch }

// instanceAfter is the one that decides the epoch behind e.
func instanceAfter(e *ring.Epoch) (paxos.Instance, error) {
	members := e.Base.Members()
	acceptors := make([]ring.NodeID, len(members))
	for i, m := range members {
		acceptors[i] = m.ID
	}
	return paxos.NewInstance(e.Number+1, acceptors)
}

// value decodes an epoch that is to follow now. Its bytes are returned anew: the message's own may be used again.
func value(now *ring.Epoch, b []byte) (*ring.Epoch, []byte, error) {
	if len(b) > paxos.MaxValueBytes {
		return nil, nil, &RequestError{fmt.Sprintf("an epoch of %d bytes, at most %d are allowed", len(b), paxos.MaxValueBytes)}
	}
	e, err := ring.DecodeEpoch(b)
	if err != nil {
		return nil, nil, &RequestError{err.Error()}
	}
	if err := now.Follows(e); err != nil {
		return nil, nil, &RequestError{err.Error()}
	}
	return e, ring.AppendEpoch(nil, e), nil
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
