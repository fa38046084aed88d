package causal

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/spaolacci/murmur3"
)

// Version is one written value, or a tombstone, with its causal past.
type Version struct {
	Dot  Dot
	Past Past
	// RequestID names the write over its retries. Zero: none, the write is never recognised.
	RequestID RequestID
	// Tombstone says 'deleted'; a tombstone has no value.
	Tombstone bool
	// ExpiresAt is the HLC from which readers take the version for absent. Zero: never. See Expired.
	ExpiresAt HLC
	// Value is shared between all copies of the version and never modified.
	Value []byte
}

// supersedes is the rule of replacement without the tie-break of Replaces.
func (v *Version) supersedes(o *Version) bool {
	if v.Past.Covers(o.Dot) {
		return true
	}
	if o.RequestID.IsZero() {
		return false
	}
	if v.RequestID == o.RequestID {
		return v.Dot.Compare(o.Dot) > 0
	}
	return v.Past.Names(o.RequestID)
}

// Replaces reports whether v takes the place of o: its vector covers o's dot, or its past names o's
// request id, or both are one write by their request id and v has the higher (HLC, actor).
//
// Two versions can each have seen the other only when a client used one request id for two writes with
// different contexts. Then the higher dot stays: dropping both would lose data for a client's bug.
func (v *Version) Replaces(o *Version) bool {
	if v.Dot == o.Dot || !v.supersedes(o) {
		return false
	}
	return v.Dot.Compare(o.Dot) > 0 || !o.supersedes(v)
}

// State is all that a replica knows of one item. It is canonical: versions ascend by dot and none of
// them replaces another. Immutable by convention; the zero State is an item never written.
type State struct {
	Versions []Version
	// Floor says: every write up to this HLC is here, or has been replaced. Zero claims nothing.
	Floor HLC
	// PurgeLevel says: what replaced a write up to this HLC may be gone from here without a trace. It is at most Floor.
	PurgeLevel HLC
}

// Bare is the state without its claims, which belong to the replica that made them and not to the item.
func (s State) Bare() State { return State{Versions: s.Versions} }

// Claims returns the state with the floor and purge level of another.
func (s State) Claims(of State) State {
	s.Floor, s.PurgeLevel = of.Floor, of.PurgeLevel
	return s
}

// Context returns the join of the dots, pasts and request ids of all versions: what a client has seen
// that got all of them, values included.
func (s State) Context() Past {
	return joinPasts(s.Versions, true)
}

// joinPasts joins the pasts of vs and, withSelf, their own dots and request ids. Siblings mostly share
// their history: what the first one's past includes is not sorted again.
func joinPasts(vs []Version, withSelf bool) Past {
	if len(vs) == 0 {
		return Past{}
	}
	first := vs[0].Past
	var vector []Dot
	var replaced []RequestID
	for i := range vs {
		if p := vs[i].Past; !first.includes(p) {
			vector = append(vector, p.vector...)
			replaced = append(replaced, p.replaced...)
		}
		if withSelf {
			vector = append(vector, vs[i].Dot)
			replaced = append(replaced, vs[i].RequestID)
		}
	}
	return first.Join(normalize(vector, replaced))
}

// Known looks a request id up: a live version comes back with true, nil with true when the write was
// replaced, nil with false when the state has never heard of it. The zero id is never known.
func (s State) Known(id RequestID) (v *Version, known bool) {
	if id.IsZero() {
		return nil, false
	}
	for i := range s.Versions {
		if s.Versions[i].RequestID == id {
			return &s.Versions[i], true
		}
	}
	for i := range s.Versions {
		if s.Versions[i].Past.Names(id) {
			return nil, true
		}
	}
	return nil, false
}

// DeleteContext returns what a delete without a context covers when s is what a read found: everything. But if s knows
// the request id the delete was done before, and this is its client asking again: then it covers what it did, so that
// what was written since stays, should the coordinator have missed the delete and mint it once more.
func (s State) DeleteContext(id RequestID) Past {
	v, known := s.Known(id)
	switch {
	case !known:
		return s.Context()
	case v != nil:
		return v.Past
	}
	for i := range s.Versions {
		if s.Versions[i].Past.Names(id) {
			return s.Versions[i].Past
		}
	}
	return Past{}
}

// Has reports whether a version with the dot is in the state.
func (s State) Has(d Dot) bool { return indexOf(s.Versions, d) >= 0 }

// Live reports whether some version is no tombstone. Expiry is not looked at: it is the reader's view, see LiveAt.
func (s State) Live() bool {
	for i := range s.Versions {
		if !s.Versions[i].Tombstone {
			return true
		}
	}
	return false
}

// MaxHLC returns the highest HLC of the floor, the dots and the vectors: a write minted on s must get
// a higher one.
func (s State) MaxHLC() HLC {
	h := s.Floor
	for i := range s.Versions {
		h = max(h, s.Versions[i].Dot.HLC, s.Versions[i].Past.MaxHLC())
	}
	return h
}

// Digest tells states with different versions apart.
type Digest [16]byte

// String renders the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Digest returns the murmur3-128 of the dots in order, and zero for a state without versions. Pasts
// and floor take no part: replicas purge the one and raise the other at different times, and to
// compare unequal for that would repair healthy items for ever.
func (s State) Digest() Digest {
	var d Digest
	if len(s.Versions) == 0 {
		return d
	}
	b := make([]byte, 0, len(s.Versions)*dotSize)
	for i := range s.Versions {
		b = appendDot(b, s.Versions[i].Dot)
	}
	h1, h2 := murmur3.Sum128(b)
	binary.BigEndian.PutUint64(d[:8], h1)
	binary.BigEndian.PutUint64(d[8:], h2)
	return d
}
