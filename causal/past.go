package causal

import (
	"cmp"
	"slices"
)

// Past is what a version replaces: a version vector (for each actor the highest HLC, which stands for
// all its earlier dots too) and the request ids of the writes replaced. The ids are needed beside the
// vector because a retried write has dots that nobody who replaced it has ever seen.
//
// A Past is immutable; its zero value has seen nothing.
type Past struct {
	vector   []Dot       // strictly ascending by actor, every HLC above zero
	replaced []RequestID // strictly ascending, none zero
}

// NewPast builds a past from dots and ids in any order. It copies both, keeps the highest HLC of each
// actor, and leaves out repetitions and zeros.
func NewPast(vector []Dot, replaced []RequestID) Past {
	return normalize(slices.Clone(vector), slices.Clone(replaced))
}

// normalize sorts and compacts in place.
func normalize(vector []Dot, replaced []RequestID) Past {
	slices.SortFunc(vector, func(a, b Dot) int {
		return cmp.Or(cmp.Compare(a.Actor, b.Actor), cmp.Compare(b.HLC, a.HLC))
	})
	vector = slices.CompactFunc(vector, func(a, b Dot) bool { return a.Actor == b.Actor })
	vector = slices.DeleteFunc(vector, func(d Dot) bool { return d.HLC == 0 })
	slices.SortFunc(replaced, RequestID.Compare)
	replaced = slices.Compact(replaced)
	if len(replaced) > 0 && replaced[0].IsZero() {
		replaced = replaced[1:]
	}
	return Past{vector: vector, replaced: replaced}
}

// Covers reports whether the vector has seen d.
func (p Past) Covers(d Dot) bool {
	i, found := slices.BinarySearchFunc(p.vector, d.Actor, compareActor)
	return found && p.vector[i].HLC >= d.HLC
}

func compareActor(d Dot, a Actor) int { return cmp.Compare(d.Actor, a) }

// Names reports whether id is among the replaced ones. The zero id never is.
func (p Past) Names(id RequestID) bool {
	_, found := slices.BinarySearchFunc(p.replaced, id, RequestID.Compare)
	return found
}

// IsZero reports whether p has seen nothing.
func (p Past) IsZero() bool { return len(p.vector) == 0 && len(p.replaced) == 0 }

// MaxHLC returns the highest HLC in the vector, zero when it is empty. A write that carries p as its
// context must be minted above it.
func (p Past) MaxHLC() HLC {
	var h HLC
	for _, d := range p.vector {
		h = max(h, d.HLC)
	}
	return h
}

// Vector returns the version vector, ascending by actor. The caller must not change it.
func (p Past) Vector() []Dot { return p.vector }

// Replaced returns the replaced request ids in ascending order. The caller must not change them.
func (p Past) Replaced() []RequestID { return p.replaced }

// Equal reports whether p and o have seen the same.
func (p Past) Equal(o Past) bool {
	return slices.Equal(p.vector, o.vector) && slices.Equal(p.replaced, o.replaced)
}

// Join returns what p and o have seen together. Where one includes the other its memory is shared.
func (p Past) Join(o Past) Past {
	return Past{
		vector:   joinVectors(p.vector, o.vector),
		replaced: joinReplaced(p.replaced, o.replaced),
	}
}

// includes reports whether p has seen all that o has.
func (p Past) includes(o Past) bool {
	return vectorIncludes(p.vector, o.vector) && replacedInclude(p.replaced, o.replaced)
}

func joinVectors(a, b []Dot) []Dot {
	if vectorIncludes(a, b) {
		return a
	}
	if vectorIncludes(b, a) {
		return b
	}
	out := make([]Dot, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Actor < b[0].Actor:
			out, a = append(out, a[0]), a[1:]
		case a[0].Actor > b[0].Actor:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, Dot{a[0].Actor, max(a[0].HLC, b[0].HLC)})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func joinReplaced(a, b []RequestID) []RequestID {
	if replacedInclude(a, b) {
		return a
	}
	if replacedInclude(b, a) {
		return b
	}
	out := make([]RequestID, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := a[0].Compare(b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, a[0])
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// vectorIncludes walks both vectors once; a shared backing array answers at once.
func vectorIncludes(a, b []Dot) bool {
	if len(b) > len(a) {
		return false
	}
	if len(b) == 0 || &a[0] == &b[0] {
		return true
	}
	for len(b) > 0 && len(b) <= len(a) {
		switch {
		case a[0].Actor < b[0].Actor:
			a = a[1:]
		case a[0].Actor == b[0].Actor && a[0].HLC >= b[0].HLC:
			a, b = a[1:], b[1:]
		default:
			return false
		}
	}
	return len(b) == 0
}

// replacedInclude is vectorIncludes for ids.
func replacedInclude(a, b []RequestID) bool {
	if len(b) > len(a) {
		return false
	}
	if len(b) == 0 || &a[0] == &b[0] {
		return true
	}
	for len(b) > 0 && len(b) <= len(a) {
		switch {
		case a[0] == b[0]: // the usual case, and cheaper than the order
			a, b = a[1:], b[1:]
		case a[0].Compare(b[0]) < 0:
			a = a[1:]
		default:
			return false
		}
	}
	return len(b) == 0
}
