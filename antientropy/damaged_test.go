package antientropy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/storage"
)

// Items that are damaged, on either side and whether that is known or not, keep no others from being mended, and are not taken for
// absent: the other side keeps its copy. What was set aside differs until it is mended, and keeps what comes.
func TestDamagedItems(t *testing.T) {
	p := newPair(t)
	for i := range 200 {
		p.put(itemKey(bucketA, fmt.Sprint(i), ""), p.version("v"), 0, 1)
	}
	var aside []storage.Key
	for i := range 8 {
		k, on := itemKey(bucketA, fmt.Sprint(i), ""), i%2
		if err := p.stores[on].Damage(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if i < 4 {
			if ok, err := p.stores[on].SetAside(t.Context(), storage.AppendKey(nil, k)); err != nil || !ok {
				t.Fatal(ok, err)
			}
			aside = append(aside, k)
		}
		// In the same leaf each side has one that the other lacks.
		k.Sort = []byte("lacked")
		p.put(k, p.version("w"), i/4%2)
	}
	for round := range 2 {
		report := p.exchange()
		if report.Partitions != 1<<partitionBits {
			t.Errorf("round %d: %+v", round, report)
		}
	}
	for i := range 200 {
		k := itemKey(bucketA, fmt.Sprint(i), "")
		for on, s := range p.stores {
			if i < 8 && on == i%2 {
				continue
			}
			if state, err := s.Get(t.Context(), k); err != nil || len(state.Versions) != 1 {
				t.Errorf("item %d on %d: %v, %v", i, on, state, err)
			}
		}
		if k.Sort = []byte("lacked"); i < 8 {
			for on, s := range p.stores {
				if state, err := s.Get(t.Context(), k); err != nil || len(state.Versions) != 1 {
					t.Errorf("the one beside item %d on %d: %v, %v", i, on, state, err)
				}
			}
		}
	}
	r, err := New(p.o)
	if err != nil {
		t.Fatal(err)
	}
	look := func() []string {
		report, err := r.Exchange(t.Context(), asked, Scope{Look: true})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, k := range report.Keys {
			keys = append(keys, string(k))
		}
		return keys
	}
	before := look()
	for i, k := range aside {
		if !slices.Contains(before, string(storage.AppendKey(nil, k)[1:])) {
			t.Errorf("item %d does not differ", i)
		}
		s := p.stores[i%2]
		var corrupt *storage.CorruptError
		if _, err := s.Get(t.Context(), k); !errors.As(err, &corrupt) {
			t.Errorf("item %d has a vote: %v", i, err)
		}
		// What exchanges brought is there, and needs only its vote.
		if ok, err := s.Mend(t.Context(), storage.Mend{Key: k}); err != nil || !ok {
			t.Fatal(ok, err)
		}
		if state, err := s.Get(t.Context(), k); err != nil || len(state.Versions) != 1 {
			t.Errorf("item %d was mended to %v, %v", i, state, err)
		}
	}
	for _, k := range aside {
		if slices.Contains(look(), string(storage.AppendKey(nil, k)[1:])) {
			t.Errorf("%q differs after it was mended", k.Partition)
		}
	}
}

// vanishing is a store in which an item is damaged between its listing and its reading.
type vanishing struct {
	*storage.Store
	key []byte
}

func (v vanishing) Get(ctx context.Context, k storage.Key) (causal.State, error) {
	if string(storage.AppendKey(nil, k)) == string(v.key) {
		return causal.State{}, &storage.CorruptError{Key: v.key, What: "item", Err: errors.New("torn")}
	}
	return v.Store.Get(ctx, k)
}

// An item that is damaged after it was listed is left out, by the side that asks and by the one that answers.
func TestDamagedSinceItWasListed(t *testing.T) {
	p := newPair(t)
	k, other := itemKey(bucketA, "a", "1"), itemKey(bucketA, "a", "2")
	p.put(k, p.version("v"), 0)
	p.put(other, p.version("v"), 0)
	torn := vanishing{p.stores[0], storage.AppendKey(nil, k)}
	p.o.Store = torn
	if report := p.exchange(); report.Pushed != 1 {
		t.Errorf("asking: %+v", report)
	}
	plan := p.o.Plan(asked)
	place := Place{Epoch: 3, N: 3, Partition: int(k.Token >> (64 - partitionBits))}
	answer, err := Answerer{torn}.Items(t.Context(), plan, plan.Shares[0], Ask{Place: place, First: storage.LeafOf(k.Token), Last: storage.LeafOf(k.Token)})
	if err != nil || len(answer.Items) != 1 || len(answer.Lacks) != 0 {
		t.Errorf("answering: %+v, %v", answer, err)
	}
}
