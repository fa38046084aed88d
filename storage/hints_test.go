package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

func (s *testStore) hints(t testing.TB, target NodeID) []Hint {
	t.Helper()
	hints, err := s.Hints(target, nil, 1_000_000)
	if err != nil {
		t.Fatalf("hints: %v", err)
	}
	return hints
}

func (s *testStore) settle(t testing.TB, h Hint, sent causal.Digest, drop bool) bool {
	t.Helper()
	settled, err := s.SettleHint(context.Background(), h, sent, drop)
	if err != nil {
		t.Fatalf("settle: %v", err)
	}
	return settled
}

func TestHintLifeCycle(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "1")
	s.put(t, k, s.write("x"), node(1), node(2))
	hints := s.hints(t, node(1))
	if len(hints) != 1 || !reflect.DeepEqual(hints[0].Key, k) || hints[0].Epoch != 5 || hints[0].Bytes <= 0 {
		t.Fatalf("got %+v", hints)
	}
	h := hints[0]
	sent, owes, err := s.HintState(context.Background(), h)
	if err != nil || !owes {
		t.Fatalf("got %t, %v", owes, err)
	}
	// It changes while it is on its way: the hint stays, in its place.
	s.put(t, k, s.write("y"))
	if s.settle(t, h, sent.Digest(), true) {
		t.Fatal("settled with an older state")
	}
	if now := s.hints(t, node(1)); len(now) != 1 || now[0].Since != h.Since || now[0].Bytes <= h.Bytes {
		t.Fatalf("got %+v", now)
	}
	now := s.get(t, k).Digest()
	if !s.settle(t, h, now, true) || len(s.hints(t, node(1))) != 0 {
		t.Fatal("not settled")
	}
	// Another target is still owed: the record stays although this one wanted it dropped.
	wantValues(t, s.get(t, k), "x,y")
	if _, owes, _ := s.HintState(context.Background(), h); owes {
		t.Error("a settled hint has a state")
	}
	if !s.settle(t, h, causal.Digest{}, true) {
		t.Error("a hint that is gone does not count as settled")
	}
	if !s.settle(t, s.hints(t, node(2))[0], now, false) {
		t.Fatal("not settled")
	}
	wantValues(t, s.get(t, k), "x,y")
	if stats := s.HintStats(); len(stats) != 0 {
		t.Errorf("got %+v", stats)
	}
}

func TestOwe(t *testing.T) {
	s := open(t, vfs.NewMem(), func(o *Options) { o.HintBytesPerTarget, o.HintBytesTotal = 1, 1 })
	k := key("a", "")
	ctx := context.Background()
	must(t, s.Owe(ctx, k, node(1), 3))
	if len(s.hints(t, node(1))) != 0 {
		t.Fatal("an item that doesn't exist is owed")
	}
	s.put(t, k, s.write("x"))
	must(t, s.Owe(ctx, k, node(1), 3))
	since := s.hints(t, node(1))[0].Since
	s.put(t, k, s.write("y"))
	must(t, s.Owe(ctx, k, node(1), 2))
	must(t, s.Owe(ctx, k, node(1), 9))
	hints := s.hints(t, node(1))
	if len(hints) != 1 || hints[0].Since != since || hints[0].Epoch != 2 || hints[0].kind != kindDebt {
		t.Fatalf("got %+v", hints)
	}
	if !s.settle(t, hints[0], s.get(t, k).Digest(), false) {
		t.Fatal("not settled")
	}
	wantValues(t, s.get(t, k), "x,y")
}

// What a strict write owes to an owner that is down is noted with the write itself, whatever the budget.
func TestPutOwesBeyondTheBudget(t *testing.T) {
	s := open(t, vfs.NewMem(), func(o *Options) { o.HintBytesPerTarget = 1 })
	k := key("a", "1")
	put := Put{Key: k, Write: s.write("x"), Sync: true, Owes: []NodeID{node(1)}, Epoch: 5}
	_, c, err := s.Put(context.Background(), put)
	if err != nil || c.Wait(context.Background()) != nil {
		t.Fatalf("a debt was refused: %v", err)
	}
	if hints := s.hints(t, node(1)); len(hints) != 1 {
		t.Fatalf("got %+v", hints)
	}
	s.checkLedger(t)
}

func TestHintsOldestFirstInPages(t *testing.T) {
	s := open(t, vfs.NewMem())
	const n = 25
	for i := range n {
		// Keys descend while time ascends.
		s.put(t, key("p", fmt.Sprintf("%03d", n-i)), s.write("v"), node(1))
	}
	s.put(t, key("p", "other"), s.write("v"), node(2))
	var after *Hint
	var all []Hint
	for {
		page, err := s.Hints(node(1), after, 4)
		must(t, err)
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
		after = &all[len(all)-1]
	}
	if len(all) != n {
		t.Fatalf("%d hints of %d", len(all), n)
	}
	for i, h := range all {
		if string(h.Key.Sort) != fmt.Sprintf("%03d", n-i) {
			t.Fatalf("hint %d is of %s", i, h.Key.Sort)
		}
	}
	stats := s.HintStats()
	if len(stats) != 2 || stats[0].Items != n || stats[0].Oldest != all[0].Since {
		t.Fatalf("got %+v", stats)
	}
}

func TestHintBudget(t *testing.T) {
	s := open(t, vfs.NewMem(), func(o *Options) { o.HintBytesPerTarget, o.HintBytesTotal = 3000, 4500 })
	ctx := context.Background()
	value := string(make([]byte, 1000))
	merge := func(k string, target NodeID) error {
		return s.Merge(ctx, []Merge{{Key: key(k, ""), State: s.foreign(t, value), HintFor: target}})[0]
	}
	must(t, merge("1", node(1)))
	must(t, merge("2", node(1)))
	var budget *HintBudgetError
	if err := merge("3", node(1)); !errors.As(err, &budget) || budget.Total || budget.Target != node(1) {
		t.Fatalf("got %v", err)
	}
	if len(s.get(t, key("3", "")).Versions) != 0 {
		t.Error("a refused copy was kept")
	}
	// One more sibling on a record that is kept already grows it, and is refused too.
	if err := merge("1", node(1)); !errors.As(err, &budget) {
		t.Fatalf("got %v", err)
	}
	must(t, merge("4", node(2)))
	if err := merge("5", node(2)); !errors.As(err, &budget) || !budget.Total {
		t.Fatalf("got %v", err)
	}
	_, _, err := s.Put(ctx, Put{Key: key("6", ""), Write: s.write(value), HintFor: []NodeID{node(3), node(1)}})
	if !errors.As(err, &budget) {
		t.Fatalf("got %v", err)
	}
	// A strict write goes on, and its debt is recorded.
	s.put(t, key("7", ""), s.write(value))
	must(t, s.Owe(ctx, key("7", ""), node(1), 1))
	// Room that is given back can be used again.
	k := key("1", "")
	if !s.settle(t, s.hints(t, node(1))[0], s.get(t, k).Digest(), true) {
		t.Fatal("not settled")
	}
	must(t, merge("3", node(1)))
	s.checkLedger(t)
}

// checkLedger compares the ledger with what the database holds.
func (s *testStore) checkLedger(t testing.TB) {
	t.Helper()
	total := int64(0)
	for _, stat := range s.HintStats() {
		var items, bytes int64
		for _, h := range s.hints(t, stat.Target) {
			items, bytes = items+1, bytes+h.Bytes
			k := AppendKey(nil, h.Key)
			value, err := s.read(k)
			must(t, err)
			r, err := decodeRecord(k, value)
			if _, owes := r.find(h.Target); err != nil || !owes {
				t.Errorf("hint %+v has no record behind it: %v", h, err)
			}
		}
		if items != stat.Items || bytes != stat.Bytes {
			t.Errorf("target %x: %d items, %d bytes; the ledger says %d and %d", stat.Target, items, bytes, stat.Items, stat.Bytes)
		}
		total += bytes
	}
	if s.ledger.total != total {
		t.Errorf("%d bytes in all; the ledger says %d", total, s.ledger.total)
	}
}

// Random changes of hints, with restarts: the ledger always is the sum of what is stored, and every hint has
// a record that lists it.
func TestLedgerOracle(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	r := rand.New(rand.NewPCG(9, 10))
	ctx := context.Background()
	for i := range 1500 {
		k, target := bucketKey(uint64(7+r.IntN(2)), fmt.Sprint(r.IntN(12)), ""), node(byte(1+r.IntN(3)))
		switch r.IntN(8) {
		case 0, 1:
			s.put(t, k, s.write(string(make([]byte, r.IntN(50)))), target)
		case 2:
			s.overwrite(t, k, "short")
		case 3:
			s.merge(t, Merge{Key: k, State: s.foreign(t, "merged"), HintFor: target, Sync: r.IntN(2) == 0})
		case 4:
			must(t, s.Owe(ctx, k, target, 1))
		case 5, 6:
			s.settleSome(t, r, target)
		case 7:
			if i%5 == 0 {
				must(t, s.DropBucket(ctx, k.Bucket))
			} else if i%7 == 0 {
				mustClose(t, s)
				s = open(t, fs)
			}
		}
		if i%50 == 0 {
			s.checkLedger(t)
		}
	}
	s.checkLedger(t)
}

// settleSome settles a few hints in one batch, some of them with a digest that isn't the present one.
func (s *testStore) settleSome(t testing.TB, r *rand.Rand, target NodeID) {
	t.Helper()
	var batch []Settlement
	for _, h := range s.hints(t, target) {
		st := Settlement{Hint: h, Sent: s.get(t, h.Key).Digest(), Drop: r.IntN(2) == 0}
		if r.IntN(4) == 0 {
			st.Sent[0]++
		}
		batch = append(batch, st)
		if r.IntN(2) == 0 { // the same one twice
			batch = append(batch, st)
		}
	}
	settled, errs := s.SettleHints(context.Background(), batch)
	for i, st := range batch {
		if errs[i] != nil {
			t.Fatalf("settle: %v", errs[i])
		}
		if _, owes, err := s.HintState(context.Background(), st.Hint); err != nil || owes == settled[i] {
			t.Fatalf("settled %t, owes %t, %v", settled[i], owes, err)
		}
	}
}

func TestDropBucket(t *testing.T) {
	s := open(t, vfs.NewMem())
	ctx := context.Background()
	for i := range 20 {
		k := bucketKey(uint64(7+i%2), fmt.Sprint(i), "")
		s.put(t, k, s.write("x"), node(1))
	}
	must(t, s.DropBucket(ctx, 7))
	must(t, s.DropBucket(ctx, 99))
	if items, _, err := s.Range(ctx, RangeRequest{Bucket: 7}); err != nil || len(items) != 0 {
		t.Errorf("got %v, %v", items, err)
	}
	if items, _, err := s.Range(ctx, RangeRequest{Bucket: 8}); err != nil || len(items) != 10 {
		t.Errorf("%d items left, %v", len(items), err)
	}
	if stats := s.HintStats(); len(stats) != 1 || stats[0].Items != 10 {
		t.Errorf("got %+v", stats)
	}
	s.checkLedger(t)
}

// More hints than go into one batch are dropped all the same.
func TestDropManyHints(t *testing.T) {
	s := open(t, vfs.NewMem())
	b := s.newBatch()
	const n = 2*dropBatch + 5
	for i := range n {
		k := appendHintKey(nil, node(1), causal.HLC(i), bucketKey(uint64(7+i%2), "p", ""))
		must(t, b.Set(k, appendHintValue(nil, k, kindDebt, 1, 10), nil))
	}
	_, err := s.apply(b, false)
	must(t, err)
	must(t, s.addUpHints())
	must(t, s.DropBucket(context.Background(), 7))
	if stats := s.HintStats(); len(stats) != 1 || stats[0].Items != n/2 || stats[0].Bytes != n/2*10 {
		t.Fatalf("got %+v", stats)
	}
	must(t, s.DropBucket(context.Background(), 8))
	if stats := s.HintStats(); len(stats) != 0 || len(s.hints(t, node(1))) != 0 {
		t.Fatalf("got %+v", stats)
	}
}

// A damaged hint neither stops the others nor is lost: the next start makes it anew from its record.
func TestCorruptHint(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	for i := range 3 {
		s.put(t, key(fmt.Sprint(i), ""), s.write("x"), node(1))
	}
	h := s.hints(t, node(1))[1]
	s.raw(t, appendHintKey(nil, h.Target, h.Since, h.Key), []byte("damaged"))
	nothing := appendHintKey(nil, node(1), 1, key("nothing", ""))
	s.raw(t, nothing, []byte("damaged too, and of no record"))
	hints, err := s.Hints(node(1), nil, 10)
	var corrupt *CorruptError
	if len(hints) != 2 || !errors.As(err, &corrupt) || corrupt.What != "hint" {
		t.Fatalf("got %+v, %v", hints, err)
	}
	mustClose(t, s)
	s = open(t, fs)
	if hints := s.hints(t, node(1)); len(hints) != 3 || !reflect.DeepEqual(hints[1], h) {
		t.Fatalf("got %+v", hints)
	}
	s.checkLedger(t)
	// A hint that lost its record is swept when somebody tries to settle it.
	s.raw(t, nothing, appendHintValue(nil, nothing, kindCopy, 1, 500))
	s.ledger.book(entry{target: node(1), items: 1, bytes: 500})
	if !s.settle(t, s.hints(t, node(1))[0], causal.Digest{}, true) || len(s.hints(t, node(1))) != 3 {
		t.Error("not swept")
	}
	s.checkLedger(t)
}

func TestTooManyTargets(t *testing.T) {
	s := open(t, vfs.NewMem())
	k := key("a", "")
	s.put(t, k, s.write("x"))
	for i := range maxTargets {
		must(t, s.Owe(context.Background(), k, node(byte(i+1)), 1))
	}
	var limit *LimitError
	if err := s.Owe(context.Background(), k, node(200), 1); !errors.As(err, &limit) {
		t.Fatalf("got %v", err)
	}
}
