package state

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// mustEpoch takes what Begin, Commit and Abort return.
func mustEpoch(e *ring.Epoch, err error) *ring.Epoch {
	if err != nil {
		panic(err)
	}
	return e
}

// moveTo begins a move of a test's cluster to these nodes.
func moveTo(t testing.TB, from *ring.Epoch, nodes ...int) *ring.Epoch {
	t.Helper()
	var members []ring.Member
	for _, i := range nodes {
		members = append(members, ring.Member{ID: nodeID(i), Zone: "z", Weight: 1})
	}
	l, err := ring.Plan(ring.PlanInput{
		Members: members, Partitions: from.Base.Partitions(), Replicas: min(3, len(nodes)), Version: from.Base.Version() + 1, Previous: from.Base,
	})
	if err != nil {
		t.Fatal(err)
	}
	return mustEpoch(from.Begin(l))
}

// TestInstall: what was decided is there after a restart and told, the document holds the newest epoch alone, and what can't
// be is refused.
func TestInstall(t *testing.T) {
	c := found(t, 3)
	m := c.node(0)
	told := 0
	m.OnChange(func() { told++ })
	first := m.Snapshot().Epoch
	begun := moveTo(t, first, 0, 1)
	aborted := mustEpoch(begun.Abort())
	committed := mustEpoch(begun.Commit())
	other := moveTo(t, first, 0, 2)
	away := c.node(1) // misses the epoch between
	if err := away.Install(t.Context(), committed); err != nil || away.Snapshot().Epoch.Number != 2 || len(away.Snapshot().History) != 0 {
		t.Errorf("skipped one: %v, at %d", err, away.Snapshot().Epoch.Number)
	}
	for i, step := range []struct {
		e      *ring.Epoch
		number uint64
		told   int
		err    error
	}{
		{first, 0, 0, nil},
		{begun, 1, 1, nil},
		{begun, 1, 1, nil},
		{other, 1, 1, ErrConflict},
		{first, 1, 1, nil},
		{aborted, 2, 2, nil},
		{begun, 2, 2, nil},
		{committed, 2, 2, ErrConflict},
	} {
		err := m.Install(t.Context(), step.e)
		if !errors.Is(err, step.err) || m.Snapshot().Epoch.Number != step.number || told != step.told {
			t.Errorf("step %d: %v, at %d, told %d times", i, err, m.Snapshot().Epoch.Number, told)
		}
	}
	var conflict *ConflictError
	if _, err := m.Offer(t.Context(), c.node(1).Document()); !errors.As(err, &conflict) || conflict.Field != "epoch 2" {
		t.Errorf("another epoch 2: %v", err)
	}
	again := c.start(nodeID(0))
	snap := again.Snapshot()
	want := []EpochChange{{Number: 1, Kind: pb.EpochChange_KIND_BEGUN, To: 1}, {Number: 2, Kind: pb.EpochChange_KIND_ABORTED, To: 1}}
	for i := range snap.History {
		if snap.History[i].At == 0 {
			t.Error("a change without a time")
		}
		snap.History[i].At = 0
	}
	if snap.Epoch.Number != 2 || !slices.Equal(snap.History, want) || len(again.current.Load().doc.wire.GetEpochs()) != 1 {
		t.Errorf("after a restart: epoch %d, %+v", snap.Epoch.Number, snap.History)
	}
	_, err := c.node(2).Offer(t.Context(), again.Document())
	if snap := c.node(2).Snapshot(); err != nil || snap.Epoch.Number != 2 || len(snap.History) != 2 {
		t.Errorf("offered to another: %v", err)
	}
}

func TestInstallIsDurableBeforeItIsVisible(t *testing.T) {
	c := found(t, 1)
	m, d := c.node(0), c.disks[nodeID(0)]
	e := moveTo(t, m.Snapshot().Epoch, 0, 1)
	d.mu.Lock()
	d.left = 0
	d.mu.Unlock()
	if err := m.Install(t.Context(), e); !errors.Is(err, errCrashed) || m.Snapshot().Epoch.Number != 0 {
		t.Errorf("on a failed disk: %v, at %d", err, m.Snapshot().Epoch.Number)
	}
	if c.start(nodeID(0)).Snapshot().Epoch.Number != 0 {
		t.Error("it is there after the restart")
	}
	if err := newCluster(t, 1, nil).node(0).Install(t.Context(), e); !errors.Is(err, ErrNotFounded) {
		t.Errorf("without a cluster: %v", err)
	}
}

// TestPastsThatCantBe: a later epoch whose layouts are older is another cluster's, or a disk's that was put back.
func TestPastsThatCantBe(t *testing.T) {
	first := ring.Genesis(testLayout(t, 3, 5))
	second := mustEpoch(mustEpoch(first.Begin(testLayout(t, 4, 6))).Commit())
	numbered := func(l *ring.Layout, n uint64) *ring.Epoch {
		e := *ring.Genesis(l)
		e.Number = n
		return &e
	}
	for name, c := range map[string]struct {
		late *ring.Epoch
		ok   bool
	}{
		"an aborted move":  {mustEpoch(mustEpoch(second.Begin(testLayout(t, 3, 7))).Abort()), true},
		"skipped":          {numbered(testLayout(t, 5, 9), 8), true},
		"an older layout":  {numbered(testLayout(t, 4, 5), 8), false},
		"another layout":   {numbered(testLayout(t, 5, 6), 8), false},
		"can't be next":    {numbered(testLayout(t, 5, 7), 3), false},
		"the same content": {second, true},
	} {
		if why := cameOf(second, c.late); (why == "") != c.ok {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// TestHistoryIsAJoin: beyond its bound, too.
func TestHistoryIsAJoin(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	draw := func() map[uint64]*pb.EpochChange {
		var h map[uint64]*pb.EpochChange
		for range rng.IntN(3 * maxHistory) {
			n := 1 + rng.Uint64N(2*maxHistory)
			h = mergeHistory(h, map[uint64]*pb.EpochChange{n: {Kind: pb.EpochChange_KIND_BEGUN, ToVersion: n, AtHlc: 1 + rng.Uint64N(5)}})
		}
		return h
	}
	equal := func(a, b map[uint64]*pb.EpochChange) bool {
		return maps.EqualFunc(a, b, func(x, y *pb.EpochChange) bool { return proto.Equal(x, y) })
	}
	full := 0
	for range 200 {
		a, b, c := draw(), draw(), draw()
		ab := mergeHistory(a, b)
		if len(ab) == maxHistory {
			full++
		}
		if len(ab) > maxHistory || !equal(ab, mergeHistory(b, a)) || !equal(ab, mergeHistory(ab, a)) ||
			!equal(mergeHistory(ab, c), mergeHistory(a, mergeHistory(b, c))) {
			t.Fatalf("no join of %v and %v", a, b)
		}
	}
	if full == 0 {
		t.Error("none came to its bound")
	}
}

// change installs on every node what the old members decided, as a proposer does: with all that they know.
func (c *cluster) change(t *testing.T, epochs ...*ring.Epoch) {
	t.Helper()
	for _, e := range epochs {
		for _, id := range c.ids() {
			if !c.alive(id) {
				continue
			}
			if err := c.get(id).Install(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestClaimsAndAChangeOfMembers: a claim that is open is settled first, by whoever proposes; from the fence on nothing of
// buckets is acknowledged; afterwards new members count, who know what was.
func TestClaimsAndAChangeOfMembers(t *testing.T) {
	c := found(t, 5)
	ctx := t.Context()
	begun := moveTo(t, c.node(0).Snapshot().Epoch, 2, 3, 4)
	commit := mustEpoch(begun.Commit())
	c.change(t, begun)
	if err := c.node(0).Fence(ctx, mustEpoch(begun.Abort()), false); err != nil {
		t.Fatalf("an abort changes no members: %v", err)
	}
	want, err := normalize(&pb.Bucket{Name: "open", N: 2}, 5)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := c.node(0).newEntry(want, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := c.node(i).claim(ctx, claim, 0); err != nil {
			t.Fatal(err)
		}
	}
	var open *ClaimsError
	if err := c.node(0).Fence(ctx, commit, false); !errors.As(err, &open) || !slices.Equal(open.Buckets, []string{"open"}) {
		t.Fatalf("an open claim: %v", err)
	}
	if err := c.node(4).Settle(ctx, open.Claims); err != nil {
		t.Fatalf("settle: %v", err)
	}
	c.settle(t)
	for i := range 5 {
		if b, ok := c.node(i).Snapshot().Bucket("open"); !ok || b.N != 2 || b.Generation != 1 {
			t.Fatalf("node %d: the creation that was settled is not there", i)
		}
	}
	for i := range 3 {
		if err := c.node(i).Fence(ctx, commit, false); err != nil {
			t.Fatalf("fence: %v", err)
		}
	}
	for name, act := range map[string]func() error{
		"create at a fenced node": func() error { _, _, err := c.node(0).Create(ctx, &pb.Bucket{Name: "new"}); return err },
		"create at another":       func() error { _, _, err := c.node(4).Create(ctx, &pb.Bucket{Name: "new"}); return err },
		"alter": func() error {
			_, err := c.node(4).Alter(ctx, &pb.AlterBucketRequest{Name: "open", R: numbered(1)})
			return err
		},
		"drop": func() error { return c.node(3).Drop(ctx, "open") },
	} {
		err := act()
		var m *MajorityError
		if !errors.Is(err, ErrMembersChange) && !(errors.As(err, &m) && !m.Refused && len(m.Causes) == 3) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.change(t, commit)
	if b, created, err := c.node(4).Create(ctx, &pb.Bucket{Name: "new"}); err != nil || !created || b.N != 3 {
		t.Errorf("create under the new members: %v", err)
	}
	if _, err := c.node(0).claim(ctx, claim, 0); !errors.Is(err, ErrMembersChange) {
		t.Errorf("a claim that counts the old members: %v", err)
	}
}

// TestClaimsThatCantBeSettled: the members that decide about a claim are away. The next generation is had instead.
func TestClaimsThatCantBeSettled(t *testing.T) {
	c := found(t, 3)
	ctx := t.Context()
	var claims []*pb.BucketEntry
	for i := range 2 {
		want, err := normalize(&pb.Bucket{Name: "open", N: uint32(i + 1)}, 3)
		if err != nil {
			t.Fatal(err)
		}
		e, err := c.node(i).newEntry(want, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.node(i).claim(ctx, e, 0); err != nil {
			t.Fatal(err)
		}
		claims = append(claims, e)
	}
	c.setDead(nodeID(2), true)
	raw, err := proto.Marshal(&pb.ClusterDocument{Name: "test", Buckets: map[string]*pb.BucketEntry{"open": claims[0]}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.node(1).Settle(ctx, raw); err != nil {
		t.Fatal(err)
	}
	if b, ok := c.node(0).Snapshot().Bucket("open"); !ok || b.Generation != 2 || b.N != 1 {
		t.Errorf("settled as %+v", b)
	}
	for what, raw := range map[string][]byte{"garbage": []byte("garbage"), "too much": make([]byte, MaxDocumentBytes+1)} {
		if err := c.node(1).Settle(ctx, raw); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Where the proposer asks for it, claims are left behind.
	begun := moveTo(t, c.node(0).Snapshot().Epoch, 0, 1)
	c.change(t, begun)
	other, err := c.node(0).newEntry(&pb.Bucket{Name: "later", N: 1, R: numbered(1), W: numbered(1), Conflict: 1, Durability: 1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.node(0).claim(ctx, other, 0); err != nil {
		t.Fatal(err)
	}
	commit := mustEpoch(begun.Commit())
	if err := c.node(0).Fence(ctx, commit, true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.node(0).claim(ctx, other, 0); !errors.Is(err, ErrMembersChange) {
		t.Errorf("granted behind the fence: %v", err)
	}
}
