package membership

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
)

// UpdateMeta asks Meta anew and spreads the answer, soon. It does not wait and may be called from anywhere.
func (m *Membership) UpdateMeta() {
	select {
	case m.updates <- struct{}{}:
	default: // one that is waiting will do
	}
}

// encodeMeta takes what Meta says now for memberlist to hand out. Metadata that does not fit leaves the
// last that did in place.
func (m *Membership) encodeMeta(leaving bool) error {
	meta := m.o.Meta()
	if err := checkMeta(m.o.ID, meta); err != nil {
		return err
	}
	if leaving {
		meta = proto.CloneOf(meta)
		meta.Leaving = true
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(meta)
	if err != nil {
		return fmt.Errorf("encode gossip metadata: %w", err)
	}
	m.meta.Store(&b)
	return nil
}

type leaveRequest struct {
	timeout time.Duration
	done    chan error
}

// Leave tells the others that this node goes on purpose, and waits until one of them was told, or ctx ends.
// Gossip goes on until Close.
func (m *Membership) Leave(ctx context.Context) error {
	timeout := m.o.Tuning.StreamTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, max(deadline.Sub(m.o.Now()), time.Millisecond))
	}
	r := leaveRequest{timeout: timeout, done: make(chan error, 1)}
	select {
	case m.leave <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// announce is the only goroutine that has memberlist broadcast this node: memberlist is not safe for two,
// nor for any after the goodbye.
func (m *Membership) announce(ctx context.Context) {
	defer close(m.announced)
	left := false
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-m.leave:
			var err error
			if !left {
				left, err = true, m.sayGoodbye(ctx, r.timeout)
			}
			r.done <- err
		case <-m.updates:
			if left {
				continue
			}
			if err := m.encodeMeta(false); err != nil {
				m.o.Logger.Error("this node's news can't be gossiped", "error", err)
				continue
			}
			if err := m.list.UpdateNode(m.o.Tuning.StreamTimeout); err != nil {
				m.o.Logger.Debug("gossip: update not yet spread", "error", err)
			}
		}
	}
}

// sayGoodbye spreads 'leaving' first: memberlist's own goodbye looks like a death to its listeners. The one
// stops the other from being passed on, so the first gets a head start of a few rounds of gossip. Who still
// misses it takes the node for dead, which does no harm.
func (m *Membership) sayGoodbye(ctx context.Context, timeout time.Duration) error {
	start := m.o.Now()
	if err := m.encodeMeta(true); err != nil {
		return err
	}
	if err := m.list.UpdateNode(timeout / 2); err != nil {
		m.o.Logger.Debug("gossip: goodbye not yet spread", "error", err)
	}
	if len(m.aliveAddrs()) > 0 {
		m.sleep(ctx, min(timeout/4, 3*m.o.Tuning.GossipInterval))
	}
	rest := max(timeout-m.o.Now().Sub(start), time.Millisecond) // 0 would mean for ever
	if err := m.list.Leave(rest); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}
	return nil
}

// sleep waits for d, and says whether it got to the end of it.
func (m *Membership) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
