package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func newSource(t *testing.T, w Workload, seed uint64) *source {
	items := newItems(t, 1000, w.Grouped)
	return &source{
		rng: rand.New(rand.NewPCG(seed, 0)), mix: w.Mix, choose: w.Distribution.newChooser(items),
		items: items, values: NewValues(100, seed),
	}
}

func TestWorkloads(t *testing.T) {
	for _, w := range Workloads() {
		sum := 0
		for _, share := range w.Mix {
			sum += share
		}
		if sum != 100 {
			t.Errorf("workload %s: shares add up to %d", w.Name, sum)
		}
		if found, err := ParseWorkload(w.Name); err != nil || found.Name != w.Name {
			t.Errorf("workload %s: %v, %v", w.Name, found, err)
		}
		source, drawn := newSource(t, w, 1), [kinds]int{}
		const draws = 20_000
		for range draws {
			op := source.next()
			drawn[op.Kind]++
			checkOp(t, op, w)
		}
		for k, share := range w.Mix {
			// Four standard deviations of a share of a half are 1.4 percent.
			if got := 100 * float64(drawn[k]) / draws; got < float64(share)-1.4 || got > float64(share)+1.4 {
				t.Errorf("workload %s: %.1f%% are of kind %s, want %d%%", w.Name, got, Kind(k), share)
			}
		}
	}
	if _, err := ParseWorkload("z"); err == nil {
		t.Error("workload z was taken")
	}
	if w, err := ParseWorkload("A"); err != nil || w.Name != "a" {
		t.Errorf("workload A: %v, %v", w, err)
	}
}

func checkOp(t *testing.T, op Op, w Workload) {
	t.Helper()
	stores := op.Kind == Update || op.Kind == Insert || op.Kind == Modify
	if stores != (len(op.Value) == 100) || (op.Kind == Scan) != (op.Limit > 0) || op.Limit > maxScan {
		t.Fatalf("workload %s: %s with %d bytes and limit %d", w.Name, op.Kind, len(op.Value), op.Limit)
	}
	if (len(op.Key.Sort) > 0) != w.Grouped {
		t.Fatalf("workload %s: key %q", w.Name, op.Key)
	}
}

func TestDrawsFollowFromTheSeed(t *testing.T) {
	for _, w := range Workloads() {
		draw := func(seed uint64) string {
			source, text := newSource(t, w, seed), ""
			for range 200 {
				op := source.next()
				text += fmt.Sprintf("%v %s %x %d\n", op.Kind, op.Key, op.Value, op.Limit)
			}
			return text
		}
		first, again, other := draw(1), draw(1), draw(2)
		if first != again {
			t.Errorf("workload %s: one seed, two series", w.Name)
		}
		if first == other {
			t.Errorf("workload %s: two seeds, one series", w.Name)
		}
	}
}

func TestValues(t *testing.T) {
	v := NewValues(1024, 1)
	if got := v.At(5); len(got) != 1024 || cap(got) != 1024 || !bytes.Equal(got, NewValues(1024, 1).At(5)) {
		t.Errorf("%d bytes, or not the same ones for one seed", len(got))
	}
	if bytes.Equal(v.At(5), v.At(6)) {
		t.Error("two items have one value")
	}
	if got := NewValues(0, 1).At(5); len(got) != 0 {
		t.Errorf("%d bytes, want none", len(got))
	}
}
