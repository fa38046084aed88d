package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/hinted"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/membership"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// run starts the loops. Each ends with n.cancel and is waited for by stop.
func (n *Node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.state.OnChange(n.onState)
	n.members.Subscribe(n.onPeer)
	n.detector.Subscribe(n.onHealth)
	n.loops.Go(func() { n.bound.run(ctx) })
	n.loops.Go(func() { n.detector.Run(ctx, n.ping) })
	n.loops.Go(func() { n.spreadLoop(ctx) })
	n.loops.Go(func() { n.compareClocks(ctx) })
	n.loops.Go(func() { n.dropLoop(ctx) })
	n.loops.Go(func() { n.stopOn("hint replay", ctx, n.hints.Run(ctx)) })
	n.loops.Go(func() { n.repairLoop(ctx) })
	n.loops.Go(func() { n.roundLoop(ctx) })
	n.loops.Go(func() { n.rebuildLoop(ctx) })
	n.loops.Go(func() { n.purgeLoop(ctx) })
	n.loops.Go(func() { n.watchForeground(ctx) })
	n.loops.Go(func() { n.scrubLoop(ctx) })
	n.loops.Go(func() { n.mendLoop(ctx) })
	n.loops.Go(func() { n.rememberLoop(ctx) })
	n.loops.Go(func() { n.transferLoop(ctx) })
	n.loops.Go(func() { n.stopOn("founding", ctx, n.state.Run(ctx)) })
	n.loops.Go(func() { n.becomeReady(ctx) })
	n.loops.Go(func() {
		select {
		case <-ctx.Done():
		case <-n.store.Failed():
			n.fail(n.store.Err())
		}
	})
	go n.supervise()
}

// supervise stops the node once something has failed that it can't go on without. It ends with the node.
func (n *Node) supervise() {
	select {
	case err := <-n.failed:
		n.log.Error("the node stops", "error", err)
		ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainTimeout)
		defer cancel()
		_ = n.close(ctx, err)
	case <-n.done:
	}
}

// fail stops the node; the first error counts.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// stopOn stops the node when a loop ends by itself with an error.
func (n *Node) stopOn(what string, ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		n.fail(fmt.Errorf("%s: %w", what, err))
	}
}

// catchUpTimeout is how long a node that starts looks for somebody to bring its view of the cluster up to date,
// before it serves with the one that it has: alone, it must still take sloppy writes.
const catchUpTimeout = 5 * time.Second

// becomeReady brings the node from its start to serving, in order: it belongs to a cluster, its view of it is up to
// date, its clock is not behind its own past.
func (n *Node) becomeReady(ctx context.Context) {
	n.setPhase("waits for its cluster")
	select {
	case <-ctx.Done():
		return
	case <-n.state.Founded():
	}
	n.setPhase("brings its view of the cluster up to date")
	n.catchUp(ctx)
	n.setPhase("asks what others know of its data")
	n.hear(ctx)
	for n.clock.Ahead() > n.clock.MaxOffset() {
		n.setPhase(fmt.Sprintf("waits for its clock, which is %v behind what it said before", n.clock.Ahead()))
		if !sleep(ctx, boundTick) {
			return
		}
	}
	if !n.leavePhase() {
		return
	}
	n.vouching.mu.Lock()
	n.vouching.since = n.opts.Now()
	n.vouching.mu.Unlock()
	n.members.UpdateMeta()
	n.health.set(true)
	close(n.ready)
	n.log.Info("ready", "cluster", n.cfg.Cluster, "node", n.id, "client_addr", n.addrs.Client)
}

// meetTimeout is how long a node that starts waits for the members that it hasn't met yet.
const meetTimeout = 2 * time.Second

// catchUp exchanges documents with one member, if any can be reached in time, and waits a little for the others: a node
// that has met nobody would refuse what it is asked.
func (n *Node) catchUp(ctx context.Context) {
	began := n.opts.Now()
	exchanged := false
	for {
		missing := 0
		for _, m := range n.state.Snapshot().Members() {
			switch {
			case m.ID == n.id:
			case n.detector.State(m.ID) != membership.Alive:
				missing++
			case !exchanged:
				_, err := n.state.Exchange(ctx, m.ID)
				exchanged = err == nil
			}
		}
		took := n.opts.Now().Sub(began)
		alone := len(n.state.Snapshot().Members()) == 1
		if alone || exchanged && (missing == 0 || took >= meetTimeout) || took >= catchUpTimeout || !sleep(ctx, boundTick) {
			return
		}
	}
}

// sleep waits, and reports whether ctx is still on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// notReadyReason says why the node takes no requests; empty when it does.
func (n *Node) notReadyReason() string {
	if err := n.store.Err(); err != nil {
		return err.Error()
	}
	if phase := n.phase.Load(); phase != nil {
		if why := n.state.Waiting(); why != "" {
			return why
		}
		return *phase
	}
	return n.clockReason()
}

// setPhase says why the node takes no requests. A node that is stopping says nothing else any more.
func (n *Node) setPhase(why string) {
	n.phaseMu.Lock()
	defer n.phaseMu.Unlock()
	if n.phaseEnded {
		return
	}
	n.phaseEnded = n.stopping.Err() != nil
	n.phase.Store(&why)
}

// leavePhase lets the node take requests, unless it is stopping.
func (n *Node) leavePhase() bool {
	n.phaseMu.Lock()
	defer n.phaseMu.Unlock()
	if n.stopping.Err() != nil {
		return false
	}
	n.phase.Store(nil)
	return true
}

// onState is told of every change of the cluster's document.
func (n *Node) onState() {
	n.members.UpdateMeta()
	notify(n.drops)
	notify(n.moves.wake) // by new buckets, too
	if epoch := n.epochNumber(); n.ringSeen.Swap(epoch) != epoch {
		n.hints.RingChanged()
		n.rounds.Wake()
		notify(n.rebuilds)
		n.scrub.mendSoon()
	}
}

// onHealth is told of every change of a peer's health. It must be quick.
func (n *Node) onHealth(c membership.Change) {
	n.log.Info("peer", "node", n.name(c.Node), "from", c.From, "to", c.To, "why", c.Why)
	if c.Up() {
		n.pool.Wake(transport.NodeID(c.Node))
		n.hints.Wake(c.Node)
		n.repairs.Wake(c.Node)
		n.rounds.Wake()
		notify(n.rebuilds)
		n.scrub.mendSoon()
	}
}

// ping asks a suspect whether it lives.
func (n *Node) ping(ctx context.Context, id ring.NodeID) (membership.Outcome, time.Duration) {
	addr, ok := n.peerAddr(id)
	if !ok {
		return membership.Unreachable, 0
	}
	start := n.opts.Now()
	n.pool.Wake(transport.NodeID(id))
	reply, err := n.pool.Call(ctx, transport.Peer{ID: transport.NodeID(id), Addr: addr}, &pb.PeerRequest{Body: &pb.PeerRequest_Ping{Ping: &pb.Ping{
		HlcBound: uint64(n.store.HLCBound()), Process: n.store.Process(),
	}}})
	took := n.opts.Now().Sub(start)
	if err == nil {
		n.noteClock(id, reply.GetPing(), took)
		n.remember(id, reply.GetPing().GetProcess(), reply.GetPing().GetHlcBound())
		n.noticePutBack(causal.HLC(reply.GetPing().GetRemembered()))
	}
	outcome := peers{n}.outcomeOf(err, nil, took)
	if outcome == membership.Ignored {
		outcome = membership.Timeout // a trial that brought no answer
	}
	return outcome, took
}

func (n *Node) noteClock(id ring.NodeID, reply *pb.PingReply, took time.Duration) {
	if took < n.cfg.MaxClockOffset/2 { // a slow answer says little
		n.noteOffset(id, time.UnixMilli(reply.GetWallMs()).Sub(n.clock.Physical().Add(-took/2)))
	}
}

const clockInterval = 2 * time.Second

// compareClocks asks the members for their clocks every now and then, so that one that was set right is trusted again.
func (n *Node) compareClocks(ctx context.Context) {
	for logged := ""; sleep(ctx, clockInterval); {
		for _, m := range n.state.Snapshot().Members() {
			if m.ID == n.id || n.detector.State(m.ID) != membership.Alive {
				continue
			}
			call, cancel := context.WithTimeout(ctx, time.Second)
			outcome, took := n.ping(call, m.ID)
			n.detector.Report(m.ID, outcome, took)
			cancel()
		}
		now := n.notReadyReason()
		if (now == "") != n.announced.Load() {
			n.members.UpdateMeta()
		}
		if now != logged {
			logged = now
			if now != "" {
				n.log.Warn("not ready", "reason", now)
			}
		}
	}
}

// A dropped bucket's data is removed twice: writes that passed their checks before the drop was known may still arrive
// until their time is up.
const (
	dropTimes = 2
	dropTick  = time.Second
)

// dropping is how far the removal of one bucket's data has come.
type dropping struct {
	times int
	next  time.Time
}

// dropLoop removes the data of buckets that were dropped, also by what a restart finds.
func (n *Node) dropLoop(ctx context.Context) {
	buckets := make(map[uint64]dropping)
	for {
		pending := false
		now := n.opts.Now()
		for _, id := range n.state.Snapshot().DroppedBuckets() {
			b := buckets[id]
			if b.times < dropTimes && !now.Before(b.next) {
				if err := n.store.DropBucket(ctx, id); err != nil {
					n.log.Warn("a dropped bucket's data could not be removed yet", "bucket", id, "error", err)
					b.next = now.Add(dropTick)
				} else {
					b.times++
					b.next = now.Add(2 * n.cfg.RequestTimeout)
				}
				buckets[id] = b
			}
			pending = pending || b.times < dropTimes
		}
		var tick <-chan time.Time
		if pending {
			tick = time.After(dropTick)
		}
		select {
		case <-ctx.Done():
			return
		case <-n.drops:
		case <-tick:
		}
	}
}

// openHints makes the replay of hints.
func (n *Node) openHints() error {
	var err error
	n.hints, err = hinted.New(hinted.Options{
		Store: n.store, Up: func(id ring.NodeID) bool { return n.healthOf(id) == coordinator.Up }, Send: n.handOver, Owns: n.owns, Moved: n.moved, BytesPerSecond: int64(n.cfg.HintRate),
		Now: n.opts.Now, Logger: n.log,
	})
	return err
}

// owns reports whether this node is an owner of an item, at its bucket's N, in a move in either layout. What it owns stays when its hints are
// settled. An unknown bucket's item stays, too: it may be one that this node has yet to hear of.
func (n *Node) owns(k storage.Key) bool {
	snap := n.state.Snapshot()
	b, ok := snap.BucketByID(k.Bucket)
	if !ok || !snap.Founded() {
		return true
	}
	return snap.Epoch.IsOwner(snap.Epoch.PartitionOf(ring.Token(k.Token)), b.N, n.id)
}

// Close drains and stops the node: no new requests, those that run end or ctx does, others are told, and the
// storage closes last. It returns when nothing of the node runs any more.
func (n *Node) Close(ctx context.Context) error { return n.close(ctx, nil) }

// close stops the node, once; cause is why it does so by itself.
func (n *Node) close(ctx context.Context, cause error) error {
	n.closeOnce.Do(func() {
		n.err = cause
		n.stop()
		go func() {
			defer close(n.done)
			n.shutDown(ctx)
		}()
	})
	<-n.done
	return n.err
}

func (n *Node) shutDown(ctx context.Context) {
	n.setPhase("is stopping")
	n.health.set(false)
	if err := n.members.Leave(ctx); err != nil {
		n.log.Debug("leave", "error", err)
	}
	n.stopClients(ctx)
	n.tasks.Close()
	n.cancel()
	n.coordinator.Close() // leaves hints behind for what was on its way
	errs := []error{n.replicaSrv.Close(ctx)}
	n.peerSrv.Stop()
	n.decider.Close()
	n.pool.Close()
	n.workers.Close()
	n.loops.Wait()
	n.state.Close()
	errs = append(errs, n.members.Close(), n.httpSrv.Close(ctx), n.store.Close())
	if err := errors.Join(errs...); err != nil && n.err == nil && n.store.Err() == nil {
		n.log.Warn("stopped with errors", "error", err)
	}
}

// stopClients lets running client requests end, and breaks them off when ctx does.
func (n *Node) stopClients(ctx context.Context) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		n.clientSrv.GracefulStop()
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		n.clientSrv.Stop()
		<-stopped
	}
	n.sessions.Wait()
}
