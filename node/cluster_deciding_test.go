package node_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/starling-db/starling/internal/testcluster"
	"github.com/starling-db/starling/node/decide"
	"github.com/starling-db/starling/ring"
)

// reweighted begins a move to a layout in which one member has twice the weight.
func (c *cluster) reweighted(from *ring.Epoch, heavy int) *ring.Epoch {
	c.t.Helper()
	in := ring.PlanInput{Partitions: from.Base.Partitions(), Replicas: 3, Version: from.Base.Version() + 1, Previous: from.Base}
	for _, m := range from.Base.Members() {
		if m.ID == c.ID(heavy) {
			m.Weight *= 2
		}
		in.Members = append(in.Members, m)
	}
	l, err := ring.Plan(in)
	if err != nil {
		c.t.Fatal(err)
	}
	e, err := from.Begin(l)
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

func (c *cluster) propose(at int, e *ring.Epoch) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, err := c.Node(at).ProposeEpoch(ctx, e)
	return err
}

// holds waits until a node knows an epoch as the newest.
func (c *cluster) holds(at int, e *ring.Epoch) {
	c.t.Helper()
	want := ring.AppendEpoch(nil, e)
	c.Eventually(c.Name(at)+" knows the epoch", func() bool {
		return bytes.Equal(ring.AppendEpoch(nil, c.Node(at).Epoch()), want)
	})
}

// A move is begun while one node is down, two rivals at once; then it is aborted. All nodes come to know it, also the one that
// was down, and after a restart of all it is still there. Without a majority nothing is begun.
func TestEpochsAreDecided(t *testing.T) {
	c := besideOthers(t, testcluster.Options{Nodes: 4})
	first := c.Node(0).Epoch()
	c.Stop(3)
	c.WaitReady()
	mine, theirs := c.reweighted(first, 0), c.reweighted(first, 1)
	errs := make(chan error, 1)
	go func() { errs <- c.propose(1, theirs) }()
	won, lost := mine, c.propose(0, mine)
	other := <-errs
	if lost != nil {
		won, lost, other = theirs, other, lost
	}
	var l *decide.LostError
	if lost != nil || !errors.As(other, &l) || l.Number != 1 || !bytes.Equal(ring.AppendEpoch(nil, l.Won), ring.AppendEpoch(nil, won)) {
		t.Fatalf("of two rivals one won with %v, the other lost with %v", lost, other)
	}
	aborted, err := won.Abort()
	if err != nil {
		t.Fatal(err)
	}
	c.holds(2, won)
	if err := c.propose(2, aborted); err != nil {
		t.Fatalf("abort: %v", err)
	}
	c.Start(3)
	for i := range 4 {
		c.holds(i, aborted)
	}
	for i := range 4 {
		c.Stop(i)
	}
	for i := range 4 {
		c.Start(i)
	}
	c.WaitReady()
	for i := range 4 {
		c.holds(i, aborted)
	}
	c.Stop(2)
	c.Stop(3)
	c.WaitReady()
	again := c.reweighted(aborted, 0)
	c.Eventually("a proposal without a majority is refused", func() bool {
		var m *decide.MajorityError
		return errors.As(c.propose(0, again), &m) && m.Required == 3
	})
	if got := c.Node(0).Epoch().Number; got != 2 {
		t.Errorf("a minority decided epoch %d", got)
	}
}
