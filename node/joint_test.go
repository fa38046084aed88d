package node

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/starling-db/starling/antientropy"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// jointEpoch is a move from the first five of seven nodes to the last five.
func jointEpoch(t *testing.T) (stable, joint, committed *ring.Epoch, members []ring.Member) {
	t.Helper()
	for i := range 7 {
		members = append(members, ring.Member{ID: ring.NodeID{byte(i + 1)}, Weight: 1})
	}
	from, err := ring.Plan(ring.PlanInput{Members: members[:5], Partitions: 16, Replicas: 3, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	to, err := ring.Plan(ring.PlanInput{Members: members[2:], Partitions: 16, Replicas: 3, Version: 2, Previous: from})
	if err != nil {
		t.Fatal(err)
	}
	stable = ring.Genesis(from)
	if joint, err = stable.Begin(to); err != nil {
		t.Fatal(err)
	}
	if committed, err = joint.Commit(); err != nil {
		t.Fatal(err)
	}
	return stable, joint, committed, members
}

func TestTokensOfARange(t *testing.T) {
	at := func(token uint64, more ...byte) []byte {
		return append(binary.BigEndian.AppendUint64(nil, token), more...)
	}
	for name, c := range map[string]struct {
		start, end  []byte
		first, last uint64
		ok          bool
	}{
		"everything":               {nil, nil, 0, math.MaxUint64, true},
		"one partition":            {at(16), at(32), 16, 31, true},
		"to the end of the ring":   {at(16), nil, 16, math.MaxUint64, true},
		"within a token":           {at(16, 1), at(16, 1, 5), 16, 16, true},
		"to a key of another one":  {at(16, 1), at(20, 1), 16, 20, true},
		"backwards":                {at(17), at(16, 1), 17, 16, false},
		"nothing":                  {at(16), at(16), 16, 15, false},
		"to the first token":       {nil, at(0), 0, math.MaxUint64, false},
		"from no token":            {[]byte{1}, nil, 0, math.MaxUint64, false},
		"to no token":              {nil, []byte{1}, 0, math.MaxUint64, false},
		"to the empty key":         {nil, []byte{}, 0, math.MaxUint64, false},
		"the last token, to a key": {at(math.MaxUint64), at(math.MaxUint64, 9), math.MaxUint64, math.MaxUint64, true},
	} {
		first, last, ok := tokensOf(c.start, c.end)
		if ok != c.ok || ok && (uint64(first) != c.first || uint64(last) != c.last) {
			t.Errorf("%s: %x to %x, %v", name, first, last, ok)
		}
	}
}

// A hint stays its target's as long as the owners are those for whom its oldest write was planned.
func TestHintsThatHaveMoved(t *testing.T) {
	stable, joint, committed, _ := jointEpoch(t)
	for p := range joint.Partitions() {
		first, _ := joint.PartitionRange(p)
		h := func(epoch uint64) storage.Hint {
			return storage.Hint{Key: storage.Key{Token: uint64(first)}, Epoch: epoch}
		}
		moves := joint.Moves(p, 3)
		for _, c := range []struct {
			now  *ring.Epoch
			hint uint64
			want bool
		}{
			{stable, 0, false}, {joint, 0, moves}, {joint, 1, false}, {committed, 0, moves}, {committed, 1, moves}, {committed, 2, false},
		} {
			if got := hintMoved(c.now, h(c.hint), 3); got != c.want {
				t.Errorf("partition %d at epoch %d, hint of %d: %v", p, c.now.Number, c.hint, got)
			}
		}
	}
}

// In a move an owner of the old layout is rebuilt from those, and one of the next alone from its own kind.
func TestRebuildFrom(t *testing.T) {
	_, joint, _, members := jointEpoch(t)
	for p := range joint.Partitions() {
		part := antientropy.Part{N: 3, Partition: p}
		base, next := joint.Owners(p, 3), joint.NextOwners(p, 3)
		for _, m := range members {
			want := base
			if !slices.Contains(base, m.ID) {
				want = next
			}
			got := rebuildFrom(joint, part, m.ID)
			if slices.Contains(got, m.ID) || !slices.Equal(got, slices.DeleteFunc(slices.Clone(want), func(id ring.NodeID) bool { return id == m.ID })) {
				t.Errorf("partition %d, node %v: from %v", p, m.ID, got)
			}
		}
	}
}

// After a change of the ring every member is asked once for old hints; before, and afterwards, the guardians alone.
func TestWhoAttestsAfterAChange(t *testing.T) {
	stable, _, committed, members := jointEpoch(t)
	part := antientropy.Part{N: 1, Partition: 0} // two guardians
	var c cleared
	same := func(what string, e *ring.Epoch, want []ring.NodeID) {
		t.Helper()
		got := slices.SortedFunc(slices.Values(c.guardians(e, part, members[2:])), ring.NodeID.Compare)
		if !slices.Equal(got, slices.SortedFunc(slices.Values(want), ring.NodeID.Compare)) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	var everyone, fallbacks []ring.NodeID
	for _, m := range members[2:] {
		everyone = append(everyone, m.ID)
		if !committed.IsGuardian(0, 1, m.ID) {
			fallbacks = append(fallbacks, m.ID)
		}
	}
	guardians := committed.Guardians(0, 1)
	same("before any change", stable, stable.Guardians(0, 1))
	same("after one", committed, everyone)
	other := antientropy.Part{N: 1, Partition: 1}
	c.attested(committed.Number, fallbacks[0], []antientropy.Part{other, part}, []int{1})
	same("one holds an old hint", committed, everyone)
	c.attested(committed.Number-1, fallbacks[0], []antientropy.Part{part}, nil)
	same("one has attested at an epoch before", committed, everyone)
	for _, id := range fallbacks {
		c.attested(committed.Number, id, []antientropy.Part{other, part}, []int{0})
	}
	same("all others hold none", committed, guardians)
	next, err := committed.Begin(planOf(t, members[1:], 3, committed.Base))
	if err != nil {
		t.Fatal(err)
	}
	if next, err = next.Abort(); err != nil {
		t.Fatal(err)
	}
	same("after another change", next, everyone)
}

func planOf(t *testing.T, members []ring.Member, version uint64, previous *ring.Layout) *ring.Layout {
	t.Helper()
	l, err := ring.Plan(ring.PlanInput{
		Members: members, Partitions: previous.Partitions(), Replicas: previous.Replicas(), Version: version, Previous: previous,
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}
