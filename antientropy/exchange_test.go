package antientropy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/starling-db/starling/antientropy/merkle"
	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	bucketA, bucketB = 7, 9
	partitionBits    = 4
)

// pair is two owners of everything, the first of which asks.
type pair struct {
	t      *testing.T
	stores [2]*storage.Store
	o      Options
	hlc    causal.HLC
	rounds int   // messages
	sent   int64 // bytes of questions and answers beside states
	// meddle changes an answer on its way.
	meddle func(*Answer)
	// broken fails every message with what it returns. It may be changed while exchanges run.
	broken atomic.Pointer[func() error]
}

var asked = ring.NodeID{2}

func newPair(t *testing.T, change ...func(*Options)) *pair {
	t.Helper()
	p := &pair{t: t, hlc: causal.NewHLC(1_700_000_000_000, 0)}
	for i := range p.stores {
		s, err := storage.Open(storage.Options{Dir: fmt.Sprint("/node", i), FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		p.stores[i] = s
	}
	share := Share{N: 3, Buckets: []uint64{bucketA, bucketB}, Policies: []causal.Policy{causal.Siblings, causal.LastWriteWins}}
	for i := range 1 << partitionBits {
		share.Partitions = append(share.Partitions, i)
	}
	plan := Plan{Epoch: 3, PartitionBits: partitionBits, Shares: []Share{share}}
	answerer := Answerer{p.stores[1]}
	only := func(place Place) Share {
		restricted, ok := share.Only(place.Bucket)
		if !ok {
			t.Errorf("a question about bucket %d", place.Bucket)
		}
		return restricted
	}
	message := func(bytes int) error {
		p.rounds++
		p.sent += int64(bytes)
		if fail := p.broken.Load(); fail != nil {
			return (*fail)()
		}
		return nil
	}
	p.o = Options{
		Store: p.stores[0], Plan: func(ring.NodeID) Plan { return plan }, BytesPerSecond: 1 << 40,
		Peers: func() []ring.NodeID { return []ring.NodeID{asked} }, Up: func(ring.NodeID) bool { return true },
		Rand: rand.New(rand.NewPCG(1, 1)),
		Peer: Peer{
			Roots: func(_ context.Context, _ ring.NodeID, place Place, partitions []int, sums []merkle.Sum) ([]int, error) {
				if err := message(len(partitions) + len(sums)*merkle.SumSize); err != nil {
					return nil, err
				}
				return answerer.Differ(plan, only(place), partitions, sums)
			},
			Nodes: func(_ context.Context, _ ring.NodeID, place Place, depth int, nodes []int) ([]merkle.Sum, error) {
				if err := message(2 * len(nodes)); err != nil {
					return nil, err
				}
				sums, err := answerer.Nodes(plan, only(place), place.Partition, depth, nodes)
				p.sent += int64(len(sums)) * merkle.SumSize
				return sums, err
			},
			Items: func(ctx context.Context, _ ring.NodeID, ask Ask) (Answer, error) {
				if err := message(8*len(ask.Hashes) + len(ask.After) + len(ask.Through)); err != nil {
					return Answer{}, err
				}
				answer, err := answerer.Items(ctx, plan, only(ask.Place), ask)
				p.sent += int64(8 * len(answer.Lacks))
				if p.meddle != nil {
					p.meddle(&answer)
				}
				return answer, err
			},
			Push: func(ctx context.Context, _ ring.NodeID, place Place, policy func(uint64) causal.Policy, items []Item) []error {
				errs := make([]error, len(items))
				if err := message(0); err != nil {
					for i := range errs {
						errs[i] = err
					}
					return errs
				}
				merges := make([]storage.Merge, len(items))
				for i, item := range items {
					k, err := keyOf(item.Key)
					if err != nil {
						t.Error(err)
					}
					merges[i] = storage.Merge{Key: k, Policy: policy(k.Bucket), State: item.State, Sync: true, Epoch: place.Epoch}
				}
				return p.stores[1].Merge(ctx, merges)
			},
		},
	}
	for _, c := range change {
		c(&p.o)
	}
	return p
}

func (p *pair) fail(f func() error) { p.broken.Store(&f) }

func itemKey(bucket uint64, partition, sort string) storage.Key {
	return storage.Key{Bucket: bucket, Token: uint64(ring.TokenOf(bucket, []byte(partition))), Partition: []byte(partition), Sort: []byte(sort)}
}

// version is a state of one new version.
func (p *pair) version(value string) causal.State {
	p.hlc++
	s, _ := causal.Mint(causal.Siblings, causal.State{}, causal.Actor(p.hlc), p.hlc, causal.Write{Value: []byte(value)})
	return s
}

// put stores a state on some of the two.
func (p *pair) put(k storage.Key, s causal.State, on ...int) {
	p.t.Helper()
	for _, i := range on {
		if err := errors.Join(p.stores[i].Merge(p.t.Context(), []storage.Merge{{Key: k, State: s, Sync: false}})...); err != nil {
			p.t.Fatal(err)
		}
	}
}

// exchange runs one and wants it to succeed.
func (p *pair) exchange() Report {
	p.t.Helper()
	r, err := New(p.o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.rounds, p.sent = 0, 0
	report, err := r.Exchange(p.t.Context(), asked, Scope{})
	if err != nil {
		p.t.Fatal(err)
	}
	return report
}

// same compares all items of both, and their leaves.
func (p *pair) same() {
	p.t.Helper()
	for _, bucket := range []uint64{bucketA, bucketB} {
		var held [2][]storage.RangeItem
		for i, s := range p.stores {
			var err error
			if held[i], _, err = s.Range(p.t.Context(), storage.RangeRequest{Bucket: bucket}); err != nil {
				p.t.Fatal(err)
			}
		}
		equal := slices.EqualFunc(held[0], held[1], func(a, b storage.RangeItem) bool {
			return string(a.Key) == string(b.Key) && a.State.Digest() == b.State.Digest()
		})
		if !equal {
			p.t.Errorf("bucket %d: %d and %d items, and they differ", bucket, len(held[0]), len(held[1]))
		}
	}
	buckets := []uint64{bucketA, bucketB}
	if a, b := p.stores[0].Leaves(nil, buckets, 0, storage.LeafCount-1), p.stores[1].Leaves(nil, buckets, 0, storage.LeafCount-1); !slices.Equal(a, b) {
		p.t.Error("the leaves differ")
	}
}

// Whatever two replicas came to differ in, they hold the same after one exchange, and nothing is lost.
func TestExchangeConverges(t *testing.T) {
	for seed := range uint64(20) {
		p := newPair(t)
		r := rand.New(rand.NewPCG(seed, 1))
		want := map[string]causal.State{}
		for range 1 + r.IntN(400) {
			bucket := uint64(bucketA)
			policy := causal.Siblings
			if r.IntN(3) == 0 {
				bucket, policy = bucketB, causal.LastWriteWins
			}
			k := itemKey(bucket, fmt.Sprint(r.IntN(40)), fmt.Sprint(r.IntN(5)))
			s := p.version(fmt.Sprint(r.Uint64()))
			on := [][]int{{0}, {1}, {0, 1}}[r.IntN(3)]
			for _, i := range on {
				if err := errors.Join(p.stores[i].Merge(t.Context(), []storage.Merge{{Key: k, Policy: policy, State: s}})...); err != nil {
					t.Fatal(err)
				}
			}
			want[fmt.Sprint(k)] = causal.Merge(policy, want[fmt.Sprint(k)], s)
		}
		p.exchange()
		p.same()
		for _, bucket := range []uint64{bucketA, bucketB} {
			items, _, err := p.stores[0].Range(t.Context(), storage.RangeRequest{Bucket: bucket})
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range items {
				k, _ := storage.DecodeRangeKey(bucket, item.Key)
				if item.State.Digest() != want[fmt.Sprint(k)].Digest() {
					t.Errorf("seed %d: %v holds something else than the join of all", seed, k)
				}
				delete(want, fmt.Sprint(k))
			}
		}
		if len(want) > 0 {
			t.Errorf("seed %d: %d items are lost", seed, len(want))
		}
		if report := p.exchange(); report.Fetched+report.Pushed+report.Leaves > 0 || p.rounds != 1 {
			t.Errorf("seed %d: a second exchange: %+v in %d messages", seed, report, p.rounds)
		}
	}
}

// Only what differs travels, and a quiet pair sends 16 bytes for each partition.
func TestExchangeSendsWhatDiffers(t *testing.T) {
	p := newPair(t)
	const items, lost = 8_000, 80
	for i := range items {
		s := p.version(string(make([]byte, 1000)))
		k := itemKey(bucketA, fmt.Sprint(i), "")
		if p.put(k, s, 0); i%(items/lost) != 0 {
			p.put(k, s, 1)
		}
	}
	report := p.exchange()
	if report.Pushed != lost || report.Fetched != 0 || report.Refused != 0 {
		t.Errorf("%+v", report)
	}
	if report.Bytes < lost*1000 || report.Bytes+p.sent > 2*lost*1000 {
		t.Errorf("%d bytes of states and %d beside them for %d bytes that were lost", report.Bytes, p.sent, lost*1000)
	}
	p.same()
	p.exchange()
	if most := int64(1<<partitionBits) * 18; p.sent > most {
		t.Errorf("%d bytes when nothing differs, at most %d", p.sent, most)
	}
}

// A leaf may hold any number of items: those of one partition key are all in one. It is compared page by page.
func TestExchangeOfALargeLeaf(t *testing.T) {
	p := newPair(t)
	for i := range 2*MaxPage + 500 {
		s, k := p.version(fmt.Sprint(i)), itemKey(bucketA, "p", fmt.Sprintf("%05d", i))
		switch {
		case i%100 == 0:
			p.put(k, s, 0)
		case i%100 == 1 || i > MaxPage && i < MaxPage+300: // more at once than an answer holds
			p.put(k, s, 1)
		default:
			p.put(k, s, 0, 1)
		}
	}
	report := p.exchange()
	if report.Leaves != 1 || report.Fetched < 300 || report.Pushed < 20 {
		t.Errorf("%+v", report)
	}
	p.same()
}

// Large states are no reason to stop.
func TestExchangeOfLargeStates(t *testing.T) {
	p := newPair(t)
	for i := range 9 {
		s := p.version(string(make([]byte, 700<<10)))
		p.put(itemKey(bucketA, "p", fmt.Sprint(i)), s, i%2)
	}
	if report := p.exchange(); report.Fetched != 4 || report.Pushed != 5 {
		t.Errorf("%+v", report)
	}
	p.same()
}

// Sums that are wrong while the items are alike are counted anew, on the side that is wrong.
func TestExchangeRecounts(t *testing.T) {
	for wrong := range 2 {
		p := newPair(t)
		for i := range 50 {
			p.put(itemKey(bucketA, fmt.Sprint(i), ""), p.version("v"), 0, 1)
		}
		// A leaf is spoilt as it would be by a bug: an item comes behind the leaf's back.
		spoil(t, p.stores[wrong], itemKey(bucketA, "3", ""))
		if report := p.exchange(); report.Leaves != 1 || report.Fetched+report.Pushed != 0 || report.Recounted != 1-wrong {
			t.Errorf("side %d: %+v", wrong, report)
		}
		p.same()
	}
}

// A failure at any message loses nothing, and the next exchange goes on.
func TestExchangeBreaksOff(t *testing.T) {
	broken := errors.New("broken")
	p := newPair(t)
	for i := range 300 {
		p.put(itemKey(bucketA, fmt.Sprint(i), ""), p.version("v"), i%2)
	}
	runner, err := New(p.o)
	if err != nil {
		t.Fatal(err)
	}
	for after := 1; ; after *= 2 {
		n := 0
		p.fail(func() error {
			if n++; n > after {
				return broken
			}
			return nil
		})
		_, err := runner.Exchange(t.Context(), asked, Scope{})
		if err == nil {
			break
		}
		if !errors.Is(err, broken) {
			t.Fatal(err)
		}
	}
	p.same()
	if totals := runner.Totals(); totals.Failed == 0 || totals.Exchanges != totals.Failed+1 || totals.Fetched != 150 || totals.Pushed != 150 {
		t.Errorf("%+v", totals)
	}
}

// What the other side answers may be anything.
func TestHostileAnswers(t *testing.T) {
	foreign := itemKey(bucketA, "elsewhere", "")
	for name, meddle := range map[string]func(*Answer){
		"an item of another leaf": func(a *Answer) { a.Items[0].Key = storage.AppendKey(nil, foreign)[1:] },
		"a token that is not its own": func(a *Answer) {
			k, _ := keyOf(a.Items[0].Key)
			k.Token ^= 1
			a.Items[0].Key = storage.AppendKey(nil, k)[1:]
		},
		"a key that is none":       func(a *Answer) { a.Items[0].Key = []byte("x") },
		"an item twice":            func(a *Answer) { a.Items = append(a.Items, a.Items[0]) },
		"an answer without an end": func(a *Answer) { a.Through = []byte{} },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.put(itemKey(bucketA, "0", ""), p.version("v"), 1)
			p.meddle = meddle
			r, err := New(p.o)
			if err != nil {
				t.Fatal(err)
			}
			if report, err := r.Exchange(t.Context(), asked, Scope{}); !errors.Is(err, ErrAsked) || report.Fetched != 0 {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
}

// So may what it asks.
func TestHostileQuestions(t *testing.T) {
	p := newPair(t)
	plan := p.o.Plan(asked)
	share := plan.Shares[0]
	a := Answerer{p.stores[1]}
	_, roots := a.Differ(plan, share, []int{1 << partitionBits}, make([]merkle.Sum, 1))
	_, uneven := a.Differ(plan, share, []int{1, 2}, make([]merkle.Sum, 1))
	_, depth := a.Nodes(plan, share, 0, 99, []int{0})
	_, many := a.Nodes(plan, share, 0, 0, make([]int, MaxNodes+1))
	_, leaf := a.Items(t.Context(), plan, share, Ask{Place: Place{Partition: 1}, First: 1, Last: 1})
	_, hashes := a.Items(t.Context(), plan, share, Ask{Hashes: make([]uint64, MaxPage+1)})
	_, page := a.Items(t.Context(), plan, share, Ask{After: []byte("b"), Through: []byte("a")})
	for i, err := range []error{roots, uneven, depth, many, leaf, hashes, page} {
		if !errors.Is(err, ErrAsked) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// spoil makes the leaf of k wrong: it counts an item that is gone.
func spoil(t *testing.T, s *storage.Store, k storage.Key) {
	t.Helper()
	k.Sort = []byte("lost")
	p := &pair{hlc: causal.NewHLC(1_600_000_000_000, 0)}
	err := errors.Join(s.Merge(t.Context(), []storage.Merge{{Key: k, State: p.version("x")}})...)
	if err = errors.Join(err, s.Lose(t.Context(), k, true)); err != nil {
		t.Fatal(err)
	}
}

// An exchange that only looks says what differs and leaves it so.
func TestLook(t *testing.T) {
	p := newPair(t)
	for i := range 400 {
		p.put(itemKey(bucketA, fmt.Sprint(i), ""), p.version("v"), 0, 1)
	}
	want := map[string]bool{}
	for i := range 30 {
		k := itemKey(bucketA, fmt.Sprint("other", i), "")
		want[string(storage.AppendKey(nil, k)[1:])] = true
		if p.put(k, p.version("v"), i%2); i%3 == 0 { // both have it, in two states
			p.put(k, p.version("w"), 1-i%2)
		}
	}
	r, err := New(p.o)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		report, err := r.Exchange(t.Context(), asked, Scope{Look: true})
		if err != nil || report.Unlike != len(want) || len(report.Keys) != len(want) || report.Fetched+report.Pushed+report.Recounted != 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		for _, key := range report.Keys {
			if !want[string(key)] {
				t.Errorf("%x does not differ", key)
			}
		}
	}
	// And one of some partitions leaves the others alone.
	report, err := r.Exchange(t.Context(), asked, Scope{Partitions: []int{1, 5}})
	if err != nil || report.Partitions != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	left, err := r.Exchange(t.Context(), asked, Scope{Look: true})
	// An item that had a state of its own on each side was fetched and pushed.
	if err != nil || left.Unlike == 0 || left.Unlike == len(want) || len(want)-left.Unlike > report.Fetched+report.Pushed {
		t.Errorf("%d of %d differ still, %+v, %v", left.Unlike, len(want), report, err)
	}
	p.exchange()
	p.same()
}
