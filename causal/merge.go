package causal

import "slices"

// Policy says what becomes of concurrent writes. It is fixed when a bucket is made.
type Policy uint8

const (
	// Siblings keeps every version that no other has seen.
	Siblings Policy = iota
	// LastWriteWins keeps the version with the highest (HLC, actor) and drops the others unseen.
	LastWriteWins
)

// String names the policy as buckets do.
func (p Policy) String() string {
	if p == LastWriteWins {
		return "lww"
	}
	return "siblings"
}

// Merge joins two states of one item. Versions ascend by dot and none replaces another; floor and purge level
// are the higher ones. A version at or below one side's purge level and absent there was replaced there by
// something that may be purged, so it is dropped, and what was dropped replaces nothing; unless the floor of the side
// that has it reaches that purge level too. Then that side knows of all that was ever purged on the other, and
// still has the version: it is the other that has lost it. Two copies of one dot become one that has seen what
// both have; its value and the rest are taken from a.
//
// The claims must be true, but for what was lost: see docs/design/watermark.md for what they then prove.
//
// Where the result equals a side, that side's slice is returned and nothing is allocated.
func Merge(p Policy, a, b State) State {
	out := State{Floor: max(a.Floor, b.Floor), PurgeLevel: max(a.PurgeLevel, b.PurgeLevel)}
	if p == LastWriteWins {
		out.Versions = mergeLast(a, b)
	} else {
		out.Versions = mergeSiblings(a, b)
	}
	return out
}

// step is the verdict over one version of the union, in the order of dots.
type step uint8

const (
	dropA step = iota
	dropB
	keepA
	keepB
	joinBoth
)

// mergeSiblings decides first and builds only if neither side is the answer. That a version of both
// sides survives needs no check: each side is canonical, and a past joined from two replaces nothing
// that neither part does.
func mergeSiblings(a, b State) []Version {
	var few [16]step
	steps := few[:0]
	isA, isB, n := true, true, 0
	for i, j := 0, 0; i < len(a.Versions) || j < len(b.Versions); {
		switch compareHeads(a.Versions[i:], b.Versions[j:]) {
		case -1:
			if survives(&a.Versions[i], a, b) {
				steps, isB, n = append(steps, keepA), false, n+1
			} else {
				steps, isA = append(steps, dropA), false
			}
			i++
		case 1:
			if survives(&b.Versions[j], b, a) {
				steps, isA, n = append(steps, keepB), false, n+1
			} else {
				steps, isB = append(steps, dropB), false
			}
			j++
		default:
			if pa, pb := a.Versions[i].Past, b.Versions[j].Past; !pa.Equal(pb) {
				isA, isB = isA && pa.includes(pb), isB && pb.includes(pa)
			}
			steps, n = append(steps, joinBoth), n+1
			i, j = i+1, j+1
		}
	}
	switch {
	case isA:
		return a.Versions
	case isB:
		return b.Versions
	}
	return build(steps, n, a.Versions, b.Versions)
}

// compareHeads compares the first dots of two lists of which one may be empty.
func compareHeads(a, b []Version) int {
	switch {
	case len(b) == 0:
		return -1
	case len(a) == 0:
		return 1
	}
	return a[0].Dot.Compare(b[0].Dot)
}

// survives reports whether v, a version of own that other lacks, outlives the merge.
func survives(v *Version, own, other State) bool {
	if other.denies(v, own) {
		return false
	}
	for i := range other.Versions {
		o := &other.Versions[i]
		if o.Replaces(v) && admitted(o, other, own) {
			return false
		}
	}
	return true
}

// denies reports whether a version that s lacks was purged from it: own, which has the version, doesn't know of all that
// was.
func (s State) denies(v *Version, own State) bool {
	return v.Dot.HLC <= s.PurgeLevel && own.Floor < s.PurgeLevel
}

// admitted reports whether v, a version of own, is in other or not denied there.
func admitted(v *Version, own, other State) bool {
	return !other.denies(v, own) || indexOf(other.Versions, v.Dot) >= 0
}

// indexOf finds a dot in canonical versions; -1 when it isn't there.
func indexOf(vs []Version, d Dot) int {
	i, found := slices.BinarySearchFunc(vs, d, func(v Version, d Dot) int { return v.Dot.Compare(d) })
	if !found {
		return -1
	}
	return i
}

func build(steps []step, n int, a, b []Version) []Version {
	if n == 0 {
		return nil
	}
	out := make([]Version, 0, n)
	for _, s := range steps {
		switch s {
		case keepA:
			out = append(out, a[0])
		case keepB:
			out = append(out, b[0])
		case joinBoth:
			v := a[0]
			v.Past = v.Past.Join(b[0].Past)
			out = append(out, v)
		}
		if s != keepB && s != dropB {
			a = a[1:]
		}
		if s != keepA && s != dropA {
			b = b[1:]
		}
	}
	return out
}

// mergeLast keeps the highest dot that both sides admit.
func mergeLast(a, b State) []Version {
	va, vb := last(a, b), last(b, a)
	switch c := compareLast(va, vb); {
	case va == nil && vb == nil:
		return nil
	case c > 0:
		return only(va, a.Versions)
	case c < 0:
		return only(vb, b.Versions)
	case va.Past.includes(vb.Past):
		return only(va, a.Versions)
	case vb.Past.includes(va.Past):
		return only(vb, b.Versions)
	}
	v := *va
	v.Past = va.Past.Join(vb.Past)
	return []Version{v}
}

// last returns the highest version of own that other admits, nil if there is none.
func last(own, other State) *Version {
	for i := len(own.Versions) - 1; i >= 0; i-- {
		if admitted(&own.Versions[i], own, other) {
			return &own.Versions[i]
		}
	}
	return nil
}

func compareLast(a, b *Version) int {
	switch {
	case a == nil && b == nil:
		return 0
	case b == nil:
		return 1
	case a == nil:
		return -1
	}
	return a.Dot.Compare(b.Dot)
}

// only returns the list of v alone, without copying when vs, where v is from, is that list.
func only(v *Version, vs []Version) []Version {
	if len(vs) == 1 {
		return vs
	}
	return []Version{*v}
}
