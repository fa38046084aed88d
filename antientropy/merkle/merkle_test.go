package merkle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// replica is a naive copy of what a tree sums up.
type replica struct {
	tree  *Tree
	items map[string]string
}

func newReplica(bits int) *replica { return &replica{New(bits), map[string]string{}} }

func leafOf(key string, bits int) int {
	return int(Of([]byte(key), nil).A >> (64 - bits) & (1<<bits - 1))
}

func sumOf(key, digest string) Sum {
	if digest == "" {
		return Sum{}
	}
	return Of([]byte(key), []byte(digest))
}

// set gives an item a digest; an empty one removes it.
func (r *replica) set(key, digest string) {
	r.tree.Change(leafOf(key, r.tree.Bits()), sumOf(key, r.items[key]), sumOf(key, digest))
	if r.items[key] = digest; digest == "" {
		delete(r.items, key)
	}
}

// counted is the tree of what is there, made anew.
func (r *replica) counted() *Tree {
	t := New(r.tree.Bits())
	for key, digest := range r.items {
		i := leafOf(key, t.Bits())
		t.Set(i, t.Leaf(i).Add(sumOf(key, digest)))
	}
	return t
}

// walk lets a ask b, and returns the leaves found and how many sums were sent.
func walk(t testing.TB, a, b *Tree, most int) (leaves []int, sums int) {
	t.Helper()
	w := NewWalk(a.Bits(), most)
	for {
		depth, nodes := w.Ask()
		if len(nodes) == 0 {
			return w.Leaves(), sums
		}
		if w.Leaves() != nil && depth < a.Bits() {
			t.Fatal("leaves before the end")
		}
		theirs, err := Answer(b, depth, nodes)
		if err != nil {
			t.Fatal(err)
		}
		sums += len(theirs)
		if err := w.Compare(a, theirs); err != nil {
			t.Fatal(err)
		}
	}
}

// The leaves that a walk finds are those that hold an item which differs, whatever happened to both sides before.
func TestWalkFindsWhatDiffers(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		bits := r.IntN(13)
		a, b := newReplica(bits), newReplica(bits)
		digest := func() string { return fmt.Sprint(r.IntN(3)) }
		for range r.IntN(500) {
			key := fmt.Sprint(r.IntN(200))
			d := digest()
			switch r.IntN(4) {
			case 0:
				a.set(key, d)
			case 1:
				b.set(key, d)
			case 2:
				a.set(key, d)
				b.set(key, d)
			default:
				a.set(key, "")
			}
		}
		if !slices.Equal(a.tree.leaves, a.counted().leaves) {
			t.Fatalf("seed %d: the tree is not that of its items", seed)
		}
		differ := map[int]bool{}
		for i := range 200 {
			if key := fmt.Sprint(i); a.items[key] != b.items[key] {
				differ[leafOf(key, bits)] = true
			}
		}
		if same := a.tree.Root() == b.tree.Root(); same != (len(differ) == 0) {
			t.Fatalf("seed %d: roots equal: %v; leaves that differ: %d", seed, same, len(differ))
		}
		if len(differ) == 0 {
			continue
		}
		got, _ := walk(t, a.tree, b.tree, 1<<bits)
		for _, leaf := range got {
			if !differ[leaf] {
				t.Fatalf("seed %d: leaf %d is the same on both sides", seed, leaf)
			}
		}
		if len(got) != len(differ) || !slices.IsSorted(got) {
			t.Fatalf("seed %d: %d leaves found, %d differ", seed, len(got), len(differ))
		}
		if one, _ := walk(t, a.tree, b.tree, 1); len(one) != 1 || !differ[one[0]] {
			t.Fatalf("seed %d: a walk of one found %v", seed, one)
		}
	}
}

// One item that differs among many costs a path down the tree, not the tree.
func TestWalkSendsAPath(t *testing.T) {
	a, b := newReplica(12), newReplica(12)
	for i := range 5000 {
		a.set(fmt.Sprint(i), "x")
		b.set(fmt.Sprint(i), "x")
	}
	b.set("77", "y")
	leaves, sums := walk(t, a.tree, b.tree, 1000)
	if want := []int{leafOf("77", 12)}; !slices.Equal(leaves, want) || sums != 3*16 {
		t.Errorf("leaves %v, want %v; %d sums", leaves, want, sums)
	}
}

// A tree that changes under a walk makes it neither fail nor run for ever.
func TestWalkUnderChange(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		a, b := newReplica(10), newReplica(10)
		b.set("x", "1")
		w := NewWalk(10, 8)
		for steps := 0; ; steps++ {
			depth, nodes := w.Ask()
			if len(nodes) == 0 {
				break
			}
			if steps > 10 {
				t.Fatal("no end")
			}
			for range r.IntN(20) {
				a.set(fmt.Sprint(r.IntN(50)), "a")
				b.set(fmt.Sprint(r.IntN(50)), "a")
			}
			if r.IntN(3) == 0 {
				b.set("x", "")
			}
			theirs, err := Answer(b.tree, depth, nodes)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Compare(a.tree, theirs); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.Leaves()) > 8 {
			t.Errorf("%d leaves", len(w.Leaves()))
		}
	}
}

// Sums at any depth are those of what is below, and the order in which items came doesn't show.
func TestSums(t *testing.T) {
	a, b := newReplica(6), newReplica(6)
	for i := range 300 {
		a.set(fmt.Sprint(i), "x")
		b.set(fmt.Sprint(299-i), "x")
	}
	if !slices.Equal(a.tree.leaves, b.tree.leaves) {
		t.Error("the order shows")
	}
	for depth := range 6 {
		for i := range 1 << depth {
			var below Sum
			for _, s := range a.tree.Children(depth, i, 1) {
				below = below.Add(s)
			}
			if below != a.tree.Node(depth, i) {
				t.Errorf("node %d at depth %d is not the sum of its children", i, depth)
			}
		}
	}
	c := a.tree.Clone()
	a.set("1", "y")
	if c.Root() != b.tree.Root() || a.tree.Root() == c.Root() {
		t.Error("the clone changed, or the tree didn't")
	}
}

func TestEncoding(t *testing.T) {
	sums := []Sum{{1, 2}, {}, {1 << 63, ^uint64(0)}}
	b := AppendSums(nil, sums...)
	if got, err := DecodeSums(b); err != nil || !slices.Equal(got, sums) || len(b) != len(sums)*SumSize {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := DecodeSums(b[:17]); !errors.Is(err, ErrLength) {
		t.Error(err)
	}
}

// What the other side sends may be anything.
func TestHostile(t *testing.T) {
	tree := New(10)
	for _, c := range []struct {
		depth int
		nodes []int
	}{{-1, []int{0}}, {10, []int{0}}, {99, nil}, {0, []int{1}}, {4, []int{-1}}, {4, []int{16}}, {4, []int{3, 3}}, {4, []int{5, 2}}} {
		if _, err := Answer(tree, c.depth, c.nodes); !errors.Is(err, ErrWalk) {
			t.Errorf("depth %d, nodes %v: %v", c.depth, c.nodes, err)
		}
	}
	w := NewWalk(10, 5)
	for _, n := range []int{0, 1, 15, 17, 1000} {
		if err := w.Compare(tree, make([]Sum, n)); !errors.Is(err, ErrWalk) {
			t.Errorf("%d sums: %v", n, err)
		}
	}
	if err := w.Compare(New(9), make([]Sum, 16)); !errors.Is(err, ErrWalk) {
		t.Error("trees of two heights")
	}
}

func FuzzAnswer(f *testing.F) {
	tree := New(8)
	f.Add(4, []byte{1, 2})
	f.Fuzz(func(t *testing.T, depth int, b []byte) {
		nodes := make([]int, len(b))
		for i := range b {
			nodes[i] = int(int8(b[i]))
		}
		sums, err := Answer(tree, depth, nodes)
		if err == nil && len(sums) != len(nodes)<<step(8, depth) {
			t.Errorf("%d sums for %d nodes at depth %d", len(sums), len(nodes), depth)
		}
	})
}

func BenchmarkChange(b *testing.B) {
	t := New(12)
	x, y := sumOf("a", "1"), sumOf("a", "2")
	for i := 0; b.Loop(); i++ {
		t.Change(i&4095, x, y)
		x, y = y, x
	}
}

func BenchmarkOf(b *testing.B) {
	key, digest := make([]byte, 40), make([]byte, 16)
	for b.Loop() {
		Of(key, digest)
	}
}
