// Package sim runs whole clusters under faults inside one test: real nodes with their gossip, gRPC and storage, in a
// bubble of testing/synctest, on a network and disks in memory that do what real ones do at their worst. One seed
// decides the cluster, its clients and the faults; checkers judge the history.
//
// Go's scheduler is not seeded, so a seed repeats a plan and not every step of a run: docs/testing.md says what that
// means.
package sim

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check"
	"github.com/starling-db/starling/internal/history"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// What a cluster must manage in simulated time.
const (
	// startWithin is how long a cluster may take until all of it serves for the first time.
	startWithin = 30 * time.Second
	// healWithin is how long it may take, once all faults are over, until all nodes serve and see each other.
	healWithin = 60 * time.Second
	// HandoffWithin is how long hints may then take until none is left.
	HandoffWithin = 60 * time.Second
	// settle is what late answers and repairs are given before disks are looked at.
	settle = 10 * time.Second
)

// Result is what a run found.
type Result struct {
	Plan       *Plan
	History    *history.Run
	Violations []history.Violation
	Stats      Stats
	trace      *trace
}

// Trace is what happened, line by line.
func (r *Result) Trace() string { return r.trace.String() }

// run is a simulation under way.
type run struct {
	plan   *Plan
	trace  *trace
	c      *cluster
	in     *injector
	log    *log
	result *Result

	bucketIDs   map[string]uint64
	healedAfter time.Duration
	samples     []history.Sample
}

// Run carries out a plan. It must be called in a bubble of testing/synctest, which it leaves empty.
func Run(p *Plan) *Result {
	t := newTrace()
	r := &run{plan: p, trace: t, result: &Result{Plan: p, trace: t}}
	r.do()
	// memberlist does not wait for a probe that is under way; its own deadline ends it.
	time.Sleep(time.Minute)
	r.finish()
	return r.result
}

func (r *run) violate(format string, args ...any) {
	v := history.Violation{Checker: "simulation", Op: -1, Message: fmt.Sprintf(format, args...)}
	r.trace.add(clients, "VIOLATION %v", v)
	r.result.Violations = append(r.result.Violations, v)
}

func (r *run) do() {
	var err error
	if r.c, err = newCluster(r.plan, r.trace); err != nil {
		r.violate("make the cluster: %v", err)
		return
	}
	defer r.c.close()
	for i := range r.c.members {
		if err := r.c.start(i); err != nil {
			r.violate("start %s: %v", nodeName(i), err)
			return
		}
	}
	if err := r.c.awaitReady(startWithin, others(r.plan.Nodes, nil)); err != nil {
		r.violate("%v", err)
		return
	}
	if err := r.makeBuckets(); err != nil {
		r.violate("%v", err)
		return
	}
	if err := r.work(); err != nil {
		r.violate("%v", err)
		return
	}
	if !r.heal() {
		return
	}
	r.listFinals()
	owners := r.owners()
	handedOff := r.handedOff()
	if handedOff {
		r.result.Stats.HandedOff = 1
		// What goes to memory first can't be seen on a disk yet.
		r.readDisks(owners, func(d *disk) vfs.FS { return d.image(100) }, func(k history.Key) bool { return !r.memory(k) })
	}
	r.readFinals(owners)
	r.sampleIdle()
	r.result.History.Samples, r.result.History.Caps = r.samples, r.caps()
	r.stopAll()
	r.readDisks(owners, (*disk).bare, func(k history.Key) bool { return !handedOff || r.memory(k) })
}

func (r *run) memory(k history.Key) bool {
	return slices.ContainsFunc(r.plan.Buckets, func(b Bucket) bool { return b.Name == k.Bucket && b.Memory })
}

// handedOff says whether hints alone must have brought all owners together. Where nodes went down in the midst of a
// write, or could not store a hint, it takes the repair by reads as well.
func (r *run) handedOff() bool {
	full := slices.ContainsFunc(r.plan.Faults, func(f Fault) bool { return f.Kind == DiskFull })
	return r.in.crashes == 0 && r.in.disksLost == 0 && !full
}

// makeBuckets makes those that are not there from the start, and waits until all nodes know them.
func (r *run) makeBuckets() error {
	for _, b := range r.plan.Buckets {
		if b.Name == "default" {
			continue
		}
		req := &pb.Bucket{Name: b.Name, N: uint32(b.N), Conflict: pb.ConflictPolicy_CONFLICT_POLICY_SIBLINGS, Durability: pb.Durability_DURABILITY_SYNC}
		if b.Policy == history.LWW {
			req.Conflict = pb.ConflictPolicy_CONFLICT_POLICY_LWW
		}
		if b.Memory {
			req.Durability = pb.Durability_DURABILITY_MEMORY
		}
		ctx, cancel := context.WithTimeout(context.Background(), startWithin)
		_, err := r.c.admin(0).CreateBucket(ctx, &pb.CreateBucketRequest{Bucket: req})
		cancel()
		if err != nil {
			return fmt.Errorf("create bucket %s: %w", b.Name, err)
		}
	}
	time.Sleep(2 * time.Second) // gossip tells the others
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	list, err := r.c.admin(0).ListBuckets(ctx, &pb.ListBucketsRequest{})
	if err != nil {
		return fmt.Errorf("list buckets: %w", err)
	}
	r.bucketIDs = map[string]uint64{}
	for _, b := range list.GetBuckets() {
		r.bucketIDs[b.GetName()] = b.GetId()
	}
	return nil
}

// work lets clients and faults loose, until the plan's time is over.
func (r *run) work() error {
	holds, err := findHoldings(r.c, r.plan.Buckets, r.bucketIDs)
	if err != nil {
		return err
	}
	r.in = newInjector(r.c, r.plan, r.trace, holds)
	r.log = &log{start: time.Now(), trace: r.trace, in: r.in}
	ctx, cancel := context.WithTimeout(context.Background(), r.plan.Length)
	defer cancel()
	var working sync.WaitGroup
	working.Go(func() { r.in.run(ctx) })
	working.Go(func() { r.watch(ctx) })
	for i, s := range r.plan.Sessions {
		at := slices.IndexFunc(r.plan.Buckets, func(b Bucket) bool { return b.Name == s.Bucket })
		one := &session{
			Session: s, index: i, bucket: r.plan.Buckets[at], turnover: r.plan.Turnover, spread: r.plan.Spread, c: r.c, log: r.log, rng: r.plan.rng("session", i),
			ids: newSeededReader(r.plan.rng("ids", i)), last: map[history.Key]seen{},
		}
		working.Go(func() {
			if err := one.open(); err != nil {
				r.trace.add(clients, "session %d has no client: %v", i, err)
				return
			}
			defer one.close()
			one.run(ctx)
		})
	}
	working.Wait()
	return nil
}

// heal waits until everything runs and nothing is left to hand off.
func (r *run) heal() bool {
	r.trace.add(clients, "all faults are over")
	deadline := time.Now().Add(healWithin)
	all := r.in.remaining()
	for err := error(nil); ; {
		r.in.supervise()
		if err = r.c.awaitReady(time.Second, all); err == nil {
			break
		}
		if time.Now().After(deadline) {
			r.violate("%v after the last fault: %v", healWithin, err)
			return false
		}
	}
	healed := time.Now()
	for {
		left, err := r.c.hints(all)
		if err == nil && len(left) == 0 {
			break
		}
		if len(all) < r.plan.Nodes {
			break // hints for a node that is gone for good stay
		}
		if time.Since(healed) > HandoffWithin {
			r.violate("%v after all nodes were back hints are left: %v (%v)", HandoffWithin, left, err)
			return false
		}
		time.Sleep(200 * time.Millisecond)
	}
	r.healedAfter = time.Since(healed)
	r.trace.add(clients, "all nodes are back, and hints handed off after %v", r.healedAfter)
	time.Sleep(settle)
	return true
}

// keys are all items that were written or read.
func (r *run) keys() []history.Key {
	all := map[history.Key]bool{}
	for _, op := range r.log.ops {
		all[op.Key] = true
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b history.Key) int {
		return slices.Compare([]string{a.Bucket, a.Partition, a.Sort}, []string{b.Bucket, b.Partition, b.Sort})
	})
}

// listFinals begins the history with what is to be looked at in the end.
func (r *run) listFinals() {
	r.result.History = &history.Run{Buckets: map[string]history.Bucket{}}
	for _, b := range r.plan.Buckets {
		r.result.History.Buckets[b.Name] = history.Bucket{Policy: b.Policy, N: b.N}
	}
	for _, key := range r.keys() {
		r.result.History.Finals = append(r.result.History.Finals, history.Final{Key: key})
	}
	left := r.in.remaining()
	for _, i := range others(r.plan.Nodes, left) {
		r.result.History.Gone = append(r.result.History.Gone, nodeName(i))
	}
	r.result.History.HealedAfter = r.healedAfter
	for _, i := range left {
		view, err := r.layout(i)
		if err != nil {
			r.violate("the ring of %s: %v", nodeName(i), err)
			continue
		}
		r.result.History.Layouts = append(r.result.History.Layouts, view)
	}
}

// layout is the ring as one node has it.
func (r *run) layout(i int) (history.LayoutView, error) {
	view := history.LayoutView{Node: nodeName(i), N: 3}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := r.c.admin(i).Ring(ctx, &pb.RingRequest{})
	if err != nil {
		return view, err
	}
	epoch, err := ring.DecodeEpoch(resp.GetEpoch())
	if err != nil {
		return view, err
	}
	digest := sha256.Sum256(resp.GetEpoch())
	view.Epoch, view.Digest = epoch.Number, hex.EncodeToString(digest[:])
	names := map[ring.NodeID]string{}
	for _, n := range resp.GetNodes() {
		var id ring.NodeID
		copy(id[:], n.GetId())
		names[id] = n.GetName()
		view.Nodes = append(view.Nodes, n.GetName())
	}
	for p := range epoch.Base.Partitions() {
		var owners []string
		for _, id := range epoch.Base.Owners(p, view.N) {
			owners = append(owners, names[id])
		}
		view.Owners = append(view.Owners, owners)
	}
	return view, nil
}

// readFinals reads every item once more from all its owners, or from as many as are left.
func (r *run) readFinals(owners map[history.Key][]string) {
	all := r.in.remaining()
	finals := r.result.History.Finals
	for i := range finals {
		key := finals[i].Key
		left := 0
		for _, i := range all {
			if slices.Contains(owners[key], nodeName(i)) {
				left++
			}
		}
		req := &pb.GetRequest{Bucket: key.Bucket, Key: keyOf(key), Options: &pb.ReadOptions{R: replicas(left), Mode: mode(true)}}
		got, err := r.readFinal(all[i%len(all)], req)
		if err != nil {
			r.violate("the last read of %v: %v", key, err)
			continue
		}
		finals[i].Read = versionsOf(got.GetVersions())
	}
	time.Sleep(settle) // repairs
}

func (r *run) readFinal(at int, req *pb.GetRequest) (got *pb.GetResponse, err error) {
	for range 5 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		got, err = r.c.kv(at).Get(ctx, req)
		cancel()
		if err == nil {
			return got, nil
		}
		time.Sleep(time.Second)
	}
	return nil, err
}

func (r *run) stopAll() {
	var stopping sync.WaitGroup
	for i := range r.c.members {
		stopping.Go(func() { r.c.stop(i) })
	}
	stopping.Wait()
}

// readDisks adds what the nodes' disks hold to the finals.
func (r *run) readDisks(owners map[history.Key][]string, look func(*disk) vfs.FS, of func(history.Key) bool) {
	for _, i := range r.in.remaining() {
		if err := r.readDisk(i, look(r.c.members[i].disk), owners, of); err != nil {
			r.violate("read the disk of %s: %v", nodeName(i), err)
		}
	}
}

// owners are the names of each item's owners.
func (r *run) owners() map[history.Key][]string {
	out := map[history.Key][]string{}
	for _, f := range r.result.History.Finals {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		at, err := r.c.admin(r.in.remaining()[0]).Locate(ctx, &pb.LocateRequest{Bucket: f.Key.Bucket, PartitionKey: []byte(f.Key.Partition)})
		cancel()
		if err != nil {
			r.violate("locate %v: %v", f.Key, err)
			continue
		}
		for _, p := range at.GetPreference() {
			if p.GetOwner() {
				out[f.Key] = append(out[f.Key], p.GetName())
			}
		}
	}
	return out
}

// readDisk adds what one node's disk holds to the finals.
func (r *run) readDisk(i int, fs vfs.FS, owners map[history.Key][]string, of func(history.Key) bool) error {
	m := r.c.members[i]
	s, err := storage.Open(storage.Options{Dir: m.cfg.Dir, FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // nothing was written
	for _, claim := range s.Claims() {
		r.result.History.PurgedBefore = max(r.result.History.PurgedBefore, causal.PurgeBefore(claim.PurgeLevel, m.cfg.MaxClockOffset))
	}
	for f := range r.result.History.Finals {
		final := &r.result.History.Finals[f]
		if !of(final.Key) {
			continue
		}
		c := history.Copy{Node: nodeName(i), Owner: slices.Contains(owners[final.Key], nodeName(i))}
		state, err := s.Get(context.Background(), r.storageKey(final.Key))
		if err != nil {
			return err
		}
		if len(state.Versions) > 0 {
			c.State = causal.AppendState(nil, state)
			for _, v := range state.Versions {
				c.Versions = append(c.Versions, history.Version{Write: history.IDOf(v.RequestID), Dot: v.Dot, Value: string(v.Value), Tombstone: v.Tombstone})
			}
		}
		final.Copies = append(final.Copies, c)
	}
	found, err := s.Recount(context.Background(), storage.LeafRange{All: true}, func(int) error { return nil })
	if err == nil && found.Wrong+found.Corrupt+found.Damaged > 0 {
		r.violate("of the items of %s %d are damaged, and %d leaves of its trees are wrong", nodeName(i), found.Corrupt+found.Damaged, found.Wrong)
	}
	return err
}

func (r *run) storageKey(k history.Key) storage.Key {
	bucket := r.bucketIDs[k.Bucket]
	return storage.Key{
		Bucket: bucket, Token: uint64(ring.TokenOf(bucket, []byte(k.Partition))), Partition: []byte(k.Partition), Sort: []byte(k.Sort),
	}
}

// finish puts the history together and has it judged.
func (r *run) finish() {
	st := &r.result.Stats
	st.Runs, st.Simulated = 1, r.trace.at()
	st.Outcomes, st.Faults = map[history.Outcome]int{}, map[FaultKind]int{}
	if r.log == nil {
		return
	}
	for _, op := range r.log.ops {
		st.Ops++
		st.Outcomes[op.Outcome]++
		if op.Faulted {
			st.Faulted++
		}
	}
	for _, s := range r.in.spans {
		st.Faults[s.kind]++
	}
	st.Crashes, st.Stopped, st.DisksLost, st.Missed = r.in.crashes, r.in.stopped, r.in.disksLost, r.in.missed
	h := r.result.History
	if h == nil {
		return
	}
	h.Ops, h.Crashes, h.DisksLost = joinTries(r.log.ops), r.in.crashes, r.in.disksLost
	for _, v := range check.All(h) {
		r.trace.add(clients, "VIOLATION %v", v)
		r.result.Violations = append(r.result.Violations, v)
	}
}

// joinTries makes one operation of those that share a request id: they are tries of one write, however long its
// client waited between them.
func joinTries(ops []history.Op) []history.Op {
	first := map[history.WriteID]int{}
	var out []history.Op
	for _, op := range ops {
		at, repeated := first[op.Write]
		if op.Write == "" || !repeated {
			first[op.Write] = len(out)
			out = append(out, op)
			continue
		}
		joined := &out[at]
		joined.Tries += op.Tries
		if op.CoversAll && op.Outcome != history.Refused {
			joined.End = op.End // each try reads anew what it covers, and the last may have been the one that counts
		}
		switch {
		case joined.Outcome == history.Done:
		case op.Outcome == history.Done:
			op.Index, op.Start, op.Tries = joined.Index, joined.Start, joined.Tries
			*joined = op
		case op.Outcome == history.Unknown:
			joined.Outcome, joined.End = history.Unknown, op.End
		}
	}
	slices.SortStableFunc(out, func(a, b history.Op) int { return cmp.Compare(a.End, b.End) })
	return out
}
