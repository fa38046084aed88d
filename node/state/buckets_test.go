package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

func TestBucketsAreCreatedAlteredAndDropped(t *testing.T) {
	c := found(t, 3)
	ctx := t.Context()
	b, created, err := c.node(0).Create(ctx, &pb.Bucket{Name: "b", N: 2})
	if err != nil || !created || b.N != 2 || b.ID != BucketID("b", 1) {
		t.Fatalf("create: %+v, %v, %v", b, created, err)
	}
	c.settle(t)
	if again, created, err := c.node(1).Create(ctx, &pb.Bucket{Name: "b", N: 2, R: numbered(2)}); err != nil || created || again.ID != b.ID {
		t.Fatalf("create it again, alike: %v, %v", created, err)
	}
	if _, _, err := c.node(1).Create(ctx, &pb.Bucket{Name: "b", N: 3}); !errors.Is(err, ErrBucketExists) {
		t.Fatalf("create it again, otherwise: %v", err)
	}
	altered, err := c.node(2).Alter(ctx, &pb.AlterBucketRequest{Name: "b", W: leveled(pb.Level_LEVEL_ONE), Durability: pb.Durability_DURABILITY_MEMORY})
	if err != nil || altered.W != 1 || altered.R != 2 || altered.Sync || altered.ID != b.ID {
		t.Fatalf("alter: %+v, %v", altered, err)
	}
	if _, err := c.node(2).Alter(ctx, &pb.AlterBucketRequest{Name: "b", R: numbered(3)}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("alter R beyond N: %v", err)
	}
	for _, step := range []struct {
		ttl  *pb.TimeToLive
		want time.Duration
	}{
		{&pb.TimeToLive{Kind: &pb.TimeToLive_Ms{Ms: 60_000}}, time.Minute},
		{nil, time.Minute},
		{&pb.TimeToLive{Kind: &pb.TimeToLive_None{None: true}}, 0},
	} {
		if altered, err := c.node(2).Alter(ctx, &pb.AlterBucketRequest{Name: "b", Ttl: step.ttl}); err != nil || altered.TTL != step.want || altered.W != 1 {
			t.Fatalf("alter to %v: %+v, %v", step.ttl, altered, err)
		}
	}
	if _, err := c.node(2).Alter(ctx, &pb.AlterBucketRequest{Name: "b", Ttl: &pb.TimeToLive{Kind: &pb.TimeToLive_Ms{}}}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("alter to a time to live of nothing: %v", err)
	}
	if _, _, err := c.node(2).Create(ctx, &pb.Bucket{Name: "b", N: 2, W: leveled(pb.Level_LEVEL_ONE), Durability: pb.Durability_DURABILITY_MEMORY, TtlMs: 1}); !errors.Is(err, ErrBucketExists) {
		t.Fatalf("create it again, with a time to live: %v", err)
	}
	if err := c.node(2).Drop(ctx, "b"); err != nil {
		t.Fatalf("drop: %v", err)
	}
	c.settle(t)
	for _, id := range c.ids() {
		s := c.get(id).Snapshot()
		if _, ok := s.Bucket("b"); ok || !s.Dropped(b.ID) || len(s.Buckets()) != 1 {
			t.Errorf("%s still has the bucket", c.names[id])
		}
	}
	if err := c.node(0).Drop(ctx, "b"); !errors.Is(err, ErrUnknownBucket) {
		t.Errorf("drop it again: %v", err)
	}
	if _, err := c.node(0).Alter(ctx, &pb.AlterBucketRequest{Name: "b"}); !errors.Is(err, ErrUnknownBucket) {
		t.Errorf("alter a dropped bucket: %v", err)
	}
	next, created, err := c.node(1).Create(ctx, &pb.Bucket{Name: "b", N: 3})
	if err != nil || !created || next.Generation != 2 || next.ID == b.ID {
		t.Errorf("create it anew: %+v, %v, %v", next, created, err)
	}
	if got, ok := c.node(1).Snapshot().BucketByID(next.ID); !ok || got.Name != "b" {
		t.Error("the new bucket is not found by its id")
	}
}

func TestTheDefaultBucketStays(t *testing.T) {
	c := found(t, 1)
	if err := c.node(0).Drop(t.Context(), DefaultBucket); !errors.Is(err, ErrInvalid) {
		t.Errorf("drop: %v", err)
	}
}

func TestActsNeedACluster(t *testing.T) {
	c := newCluster(t, 1, nil)
	if _, _, err := c.node(0).Create(t.Context(), &pb.Bucket{Name: "b"}); !errors.Is(err, ErrNotFounded) {
		t.Errorf("create: %v", err)
	}
}

// acts are the three changes of a bucket "b", which exists but for create.
var acts = map[string]func(context.Context, *Manager) error{
	"create": func(ctx context.Context, m *Manager) error {
		_, _, err := m.Create(ctx, &pb.Bucket{Name: "new"})
		return err
	},
	"alter": func(ctx context.Context, m *Manager) error {
		_, err := m.Alter(ctx, &pb.AlterBucketRequest{Name: "b", R: numbered(1)})
		return err
	},
	"drop": func(ctx context.Context, m *Manager) error { return m.Drop(ctx, "b") },
}

func withBucket(t *testing.T, n int) *cluster {
	t.Helper()
	c := found(t, n)
	if _, _, err := c.node(0).Create(t.Context(), &pb.Bucket{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	c.settle(t)
	return c
}

func TestActsAreRefusedWhileNoMajorityLives(t *testing.T) {
	c := withBucket(t, 3)
	c.setDead(nodeID(1), true)
	c.setDead(nodeID(2), true)
	before := c.node(0).Fingerprint()
	for name, act := range acts {
		var e *MajorityError
		if err := act(t.Context(), c.node(0)); !errors.As(err, &e) || !e.Refused || e.Required != 2 || e.Live != 1 || e.Members != 3 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c.node(0).Fingerprint() != before {
		t.Error("a refused act has changed the document")
	}
}

func TestActsWithoutAMajorityTellThatTheirOutcomeIsUnknown(t *testing.T) {
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			c := withBucket(t, 3)
			c.deliver = func(_, _ ring.NodeID) bool { return false }
			var e *MajorityError
			if err := act(t.Context(), c.node(0)); !errors.As(err, &e) || e.Refused || e.Received != 1 || e.Live != 3 || len(e.Causes) != 2 {
				t.Fatalf("%v", err)
			}
			c.deliver = nil
			err := act(t.Context(), c.node(0))
			if name == "drop" && errors.Is(err, ErrUnknownBucket) {
				err = nil // it had taken effect here
			}
			if err != nil {
				t.Errorf("trying again: %v", err)
			}
		})
	}
}

func TestActsSurviveARestartOfTheMajority(t *testing.T) {
	c := found(t, 5)
	c.setDead(nodeID(3), true)
	c.setDead(nodeID(4), true)
	if _, _, err := c.node(0).Create(t.Context(), &pb.Bucket{Name: "b", N: 5}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		c.start(nodeID(i))
		if _, ok := c.node(i).Snapshot().Bucket("b"); !ok {
			t.Errorf("node %d has forgotten the bucket", i)
		}
	}
}

// Nodes create one bucket with different settings at once, over a network that loses messages. At most one
// succeeds; then all have its settings. Nobody gets stuck: once messages arrive, every create has an answer.
func TestRivalCreatesNeverBothSucceed(t *testing.T) {
	c := found(t, 5)
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(3, 4))
	wins := 0
	for round := range 60 {
		name, loss := fmt.Sprint("b", round), []float64{0, 0.2, 0.5}[round%3]
		c.mu.Lock()
		c.deliver = func(_, _ ring.NodeID) bool { mu.Lock(); defer mu.Unlock(); return r.Float64() >= loss }
		c.mu.Unlock()
		errs := make([]error, 4)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				_, _, errs[i] = c.node(i).Create(t.Context(), &pb.Bucket{Name: name, N: uint32(i%3) + 1})
			})
		}
		all.Wait()
		c.mu.Lock()
		c.deliver = nil
		c.mu.Unlock()
		settled := uint32(0)
		for i, err := range errs {
			switch n := uint32(i%3) + 1; {
			case err != nil:
				if !errors.Is(err, ErrBucketExists) && !errors.Is(err, ErrMajority) {
					t.Fatalf("round %d: %v", round, err)
				}
			case settled > 0 && settled != n:
				t.Fatalf("round %d: created with N=%d and with N=%d", round, settled, n)
			default:
				settled = n
				wins++
			}
		}
		if _, _, err := c.node(4).Create(t.Context(), &pb.Bucket{Name: name, N: 4}); err != nil && !errors.Is(err, ErrBucketExists) {
			t.Fatalf("round %d: a create without rivals or losses: %v", round, err)
		}
		c.settle(t)
		for _, id := range c.ids() {
			b, ok := c.get(id).Snapshot().Bucket(name)
			if !ok || settled > 0 && b.N != int(settled) {
				t.Fatalf("round %d: %s has %+v, acknowledged was N=%d", round, c.names[id], b, settled)
			}
		}
	}
	if wins == 0 {
		t.Error("no create ever succeeded")
	}
}

func TestClaimsAreBindingAndSurviveARestart(t *testing.T) {
	c := found(t, 3)
	ctx := t.Context()
	claim := func(i int, n uint32) *pb.BucketEntry {
		t.Helper()
		w, err := normalize(&pb.Bucket{Name: "b", N: n}, 3)
		if err != nil {
			t.Fatal(err)
		}
		e, err := c.node(i).newEntry(w, 1)
		if err != nil {
			t.Fatal(err)
		}
		stands, err := c.node(i).claim(ctx, e, 0)
		if err != nil {
			t.Fatal(err)
		}
		return stands
	}
	if e := claim(0, 1); e.GetBucket().GetN() != 1 {
		t.Fatalf("the first claim got %v", e)
	}
	c.start(nodeID(0))
	if e := claim(0, 2); e.GetBucket().GetN() != 1 {
		t.Fatalf("after a restart a rival's claim got %v", e)
	}
	claim(1, 2)
	c.setDead(nodeID(2), true)
	var e *MajorityError
	if _, _, err := c.node(0).Create(ctx, &pb.Bucket{Name: "b", N: 1}); !errors.As(err, &e) || e.Refused || e.Received != 1 {
		t.Fatalf("while the third member's claim decides: %v", err)
	}
	c.setDead(nodeID(2), false)
	claim(2, 3)
	b, created, err := c.node(0).Create(ctx, &pb.Bucket{Name: "b", N: 1})
	if err != nil || !created || b.Generation != 2 {
		t.Fatalf("when no claim of a generation can win: %+v, %v, %v", b, created, err)
	}
}

func TestAClaimThatWonIsFinishedByTheNextCreator(t *testing.T) {
	c := found(t, 3)
	w, err := normalize(&pb.Bucket{Name: "b", N: 2}, 3)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.node(0).newEntry(w, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 { // its creator ended here
		if _, err := c.node(i).claim(t.Context(), proto.CloneOf(e), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.node(2).Create(t.Context(), &pb.Bucket{Name: "b", N: 3}); !errors.Is(err, ErrBucketExists) {
		t.Fatalf("create with other settings: %v", err)
	}
	if b, ok := c.node(2).Snapshot().Bucket("b"); !ok || b.N != 2 {
		t.Errorf("the bucket is %+v", b)
	}
}

func FuzzClaimed(f *testing.F) {
	u := newUniverse(f, 1)
	d, err := proto.Marshal(&pb.ClusterDocument{Name: "test", ClusterId: u.id, Buckets: map[string]*pb.BucketEntry{"a": u.entry("a")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a", d)
	f.Add("", []byte{1})
	f.Fuzz(func(t *testing.T, name string, raw []byte) {
		e, _, err := claimed(raw, name)
		if err == nil && (e.GetBucket().GetName() != name || e.GetGeneration() == 0) {
			t.Fatalf("accepted %v", e)
		}
	})
}
