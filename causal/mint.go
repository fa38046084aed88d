package causal

import (
	"slices"
	"time"
)

// Write is one put or delete, ready to be minted.
type Write struct {
	// Context is what the writer has seen, and so replaces. Zero: a sibling of everything.
	Context   Past
	RequestID RequestID
	// Value is shared, not copied. Ignored for a tombstone.
	Value     []byte
	Tombstone bool
	// TTL is how long after its dot the version expires: 0 is never, else it is from a millisecond to MaxTTL, as
	// CheckTTL has it. Ignored for a tombstone.
	TTL time.Duration
}

// Mint makes w a version with the dot (a, h) and returns s merged with it, and the version. The claims
// of s stay, and take no part: a fresh write is above them.
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
// Under LastWriteWins the past is not the context, but the request ids that a retry may still bring (see recent).
//
// A client may have read its own unacknowledged write before it tries again with the fresh context. So
// that a version never replaces itself, its own request id is left out of its past; and so is
// whatever a forged context says of the actor from h on.
func Mint(p Policy, s State, a Actor, h HLC, w Write) (State, Version) {
	v := Version{
		Dot:       Dot{Actor: a, HLC: h},
		RequestID: w.RequestID,
		Tombstone: w.Tombstone,
	}
	if p == LastWriteWins {
		v.Past = recent(s, w.Context, h, v.RequestID)
	} else {
		v.Past = w.Context.before(v.Dot, v.RequestID)
	}
	if !w.Tombstone {
		v.Value, v.ExpiresAt = w.Value, expiry(h, w.TTL)
	}
	return Merge(p, s.Bare(), State{Versions: []Version{v}}).Claims(s), v
}

// maxRecent bounds the request ids that a version of a last-write-wins item remembers: at 16 bytes each they travel
// with every copy. A retry of a write that so many others have replaced within the window counts as a new write.
const maxRecent = 64

// recent is the past of a version under LastWriteWins. There the highest dot wins whatever it has seen, so no vector is
// needed; what is left for a past to do is to recognise a retry of a write that has been replaced since, which can't come
// once the id's window has passed. So the pasts of items that are overwritten for ever stay small.
func recent(s State, context Past, h HLC, id RequestID) Past {
	from := h.Millis() - RetryWindow.Milliseconds()
	var ids []RequestID
	add := func(r RequestID) {
		if !r.IsZero() && r != id && r.Millis() >= from {
			ids = append(ids, r)
		}
	}
	addAll := func(p Past) {
		for _, r := range p.replaced[max(0, len(p.replaced)-maxRecent):] {
			add(r)
		}
	}
	addAll(context)
	for i := range s.Versions {
		add(s.Versions[i].RequestID)
		addAll(s.Versions[i].Past)
	}
	p := normalize(nil, ids)
	p.replaced = p.replaced[max(0, len(p.replaced)-maxRecent):] // ids ascend by time
	return p
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
