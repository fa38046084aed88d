package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func newItems(t *testing.T, n uint64, grouped bool) *Items {
	t.Helper()
	items, err := NewItems(n, grouped, 7)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// counts draws many items.
func counts(t *testing.T, d Distribution, items *Items, draws int) []int {
	t.Helper()
	choose, rng := d.newChooser(items), rand.New(rand.NewPCG(3, 4))
	out := make([]int, items.Stored())
	for range draws {
		item := choose(rng)
		if item >= items.Stored() {
			t.Fatalf("%s: item %d of %d", d, item, items.Stored())
		}
		out[item]++
	}
	return out
}

func TestUniform(t *testing.T) {
	for item, n := range counts(t, Uniform, newItems(t, 100, false), 100_000) {
		if n < 800 || n > 1200 { // the standard deviation is 32
			t.Errorf("item %d was drawn %d times, want about 1000", item, n)
		}
	}
}

func TestZipfian(t *testing.T) {
	const draws = 200_000
	drawn := counts(t, Zipfian, newItems(t, 1000, false), draws)
	hottest := slices.Index(drawn, slices.Max(drawn))
	// The most popular rank is one of 26 draws, and other ranks are scattered over the same item.
	if share := float64(drawn[hottest]) / draws; share < 1/zipfSpaceZeta() || share > 1.1/zipfSpaceZeta() {
		t.Errorf("the most popular item got %.4f of the draws, want a little more than %.4f", share, 1/zipfSpaceZeta())
	}
	if want := int(scatter(0) % 1000); hottest != want {
		t.Errorf("the most popular item is %d, want %d", hottest, want)
	}
	if least := slices.Min(drawn); least == 0 {
		t.Error("some item is never asked for")
	}
}

func TestLatest(t *testing.T) {
	items := newItems(t, 500, false)
	for range 500 {
		items.settle(items.insert())
	}
	drawn := counts(t, Latest, items, 100_000)
	share := float64(drawn[999]) / 100_000
	if want := 1 / zeta(1000, zipfTheta); math.Abs(share/want-1) > 0.05 {
		t.Errorf("the newest item got %.4f of the draws, want %.4f", share, want)
	}
	newer, older := 0, 0
	for item, n := range drawn {
		if item >= 900 {
			newer += n
		} else {
			older += n
		}
	}
	if newer < older {
		t.Errorf("the newest tenth got %d draws, the rest %d", newer, older)
	}
}

func TestParseDistribution(t *testing.T) {
	for _, d := range []Distribution{Zipfian, Uniform, Latest} {
		if got, err := ParseDistribution(string(d)); err != nil || got != d {
			t.Errorf("%s: %v, %v", d, got, err)
		}
	}
	if _, err := ParseDistribution("normal"); err == nil {
		t.Error("an unknown distribution was taken")
	}
}

// TestInsertsInAnyOrder: an item counts as stored once all before it do.
func TestInsertsInAnyOrder(t *testing.T) {
	items := newItems(t, 10, false)
	a, b, c := items.insert(), items.insert(), items.insert()
	for _, step := range []struct{ settle, stored uint64 }{{c, 10}, {a, 11}, {b, 13}} {
		if items.settle(step.settle); items.Stored() != step.stored {
			t.Errorf("after item %d: %d stored, want %d", step.settle, items.Stored(), step.stored)
		}
	}
	if len(items.done) != 0 {
		t.Errorf("%d items are remembered for nothing", len(items.done))
	}
}

func TestKeys(t *testing.T) {
	flat, seen := newItems(t, 5000, false), map[string]bool{}
	for i := range uint64(6000) {
		k := flat.Key(i)
		if len(k.Sort) != 0 || seen[string(k.Partition)] {
			t.Fatalf("item %d: %q", i, k)
		}
		seen[string(k.Partition)] = true
	}
	other, err := NewItems(5000, false, 8)
	if err != nil {
		t.Fatal(err)
	}
	if string(other.Key(1).Partition) != string(flat.Key(1).Partition) {
		t.Error("items that are loaded have other keys in another run")
	}
	if string(other.Key(5001).Partition) == string(flat.Key(5001).Partition) {
		t.Error("items that are inserted have the same keys in another run")
	}
	if _, err := NewItems(0, false, 0); err == nil {
		t.Error("no items at all were taken")
	}
}

func TestGroupedKeys(t *testing.T) {
	items := newItems(t, 5000, true)
	groups := map[string]int{}
	for i := range uint64(5000) {
		k := items.Key(i)
		if len(k.Sort) == 0 {
			t.Fatalf("item %d has no sort key", i)
		}
		groups[string(k.Partition)]++
	}
	if len(groups) != 5 {
		t.Errorf("%d groups, want 5", len(groups))
	}
	for group, n := range groups {
		if n != groupSize {
			t.Errorf("%d items in group %s", n, group)
		}
	}
}
