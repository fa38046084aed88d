package causal

import "slices"

// Write is one put or delete, ready to be minted.
type Write struct {
	// Context is what the writer has seen, and so replaces. Zero: a sibling of everything.
	Context   Past
	RequestID RequestID
	// Value is shared, not copied. Ignored for a tombstone.
	Value     []byte
	Tombstone bool
	ExpiresAt HLC
}

// Mint makes w a version with the dot (a, h) and returns s merged with it, and the version. The floor
// of s stays, and takes no part: a fresh write is above it.
//
// What the caller owes, under the latch of the item:
//
//   - h comes from Clock.NowAfter(max(s.MaxHLC(), w.Context.MaxHLC())), so no other write has the dot and
//     it is above the floor. Under LastWriteWins a lower h loses against what the writer has seen or
//     what is here, and the write would be acknowledged and gone;
//   - a was drawn by this process for this record and has minted on no other;
//   - s.Known(w.RequestID) is false: a known id is answered with the state as it is, nothing is minted;
//   - h lies within RetryWindow of the time in the request id.
//
// A client may have read its own unacknowledged write before it tries again with the fresh context. So
// that a version never replaces itself, its own request id is left out of its past; and so is
// whatever a forged context says of the actor from h on.
func Mint(p Policy, s State, a Actor, h HLC, w Write) (State, Version) {
	v := Version{
		Dot:       Dot{Actor: a, HLC: h},
		RequestID: w.RequestID,
		Tombstone: w.Tombstone,
		ExpiresAt: w.ExpiresAt,
	}
	v.Past = w.Context.before(v.Dot, v.RequestID)
	if !w.Tombstone {
		v.Value = w.Value
	}
	merged := Merge(p, State{Versions: s.Versions}, State{Versions: []Version{v}})
	merged.Floor = s.Floor
	return merged, v
}

// before returns p without what can't be in the past of the version with this dot and id.
func (p Past) before(d Dot, id RequestID) Past {
	if p.Covers(d) {
		p.vector = slices.Clone(p.vector)
		i, _ := slices.BinarySearchFunc(p.vector, d.Actor, compareActor)
		if p.vector[i].HLC = max(d.HLC, 1) - 1; p.vector[i].HLC == 0 {
			p.vector = slices.Delete(p.vector, i, i+1)
		}
	}
	if i, found := slices.BinarySearchFunc(p.replaced, id, RequestID.Compare); found {
		p.replaced = slices.Delete(slices.Clone(p.replaced), i, i+1)
	}
	return p
}
