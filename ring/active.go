package ring

import "slices"

// Guardians returns the guardians of a partition in Base at N = n, as Layout.Guardians does.
func (e *Epoch) Guardians(p, n int) []NodeID { return e.Base.Guardians(e.inBase(p), n) }

// NextGuardians is Guardians for Next. In a stable epoch it is Guardians.
func (e *Epoch) NextGuardians(p, n int) []NodeID { return e.finest().Guardians(p, n) }

// IsOwner reports whether id is an owner of a partition at N = n in an active layout.
func (e *Epoch) IsOwner(p, n int, id NodeID) bool {
	return slices.Contains(e.Owners(p, n), id) || e.Joint() && slices.Contains(e.NextOwners(p, n), id)
}

// IsGuardian reports whether id is a guardian of a partition at N = n in an active layout.
func (e *Epoch) IsGuardian(p, n int, id NodeID) bool {
	return slices.Contains(e.Guardians(p, n), id) || e.Joint() && slices.Contains(e.NextGuardians(p, n), id)
}

// Shares reports whether two nodes are owners of a partition at N = n in one and the same active layout: what one of them
// took as an owner the other should have, too. An owner of the old layout alone and one of the next alone share nothing.
func (e *Epoch) Shares(p, n int, a, b NodeID) bool {
	both := func(owners []NodeID) bool { return slices.Contains(owners, a) && slices.Contains(owners, b) }
	return both(e.Owners(p, n)) || e.Joint() && both(e.NextOwners(p, n))
}

// ActiveOwners returns the owners of a partition at N = n in the active layouts: those of both first, who hold the data and
// stay, then those of Base alone, who hold it too, then those of Next alone, who may not have pulled it yet. In a stable epoch
// it is Owners. Read only.
func (e *Epoch) ActiveOwners(p, n int) []NodeID {
	base := e.Owners(p, n)
	if !e.Joint() {
		return base
	}
	next := e.NextOwners(p, n)
	out := make([]NodeID, 0, len(base)+len(next))
	for _, both := range []bool{true, false} {
		for _, id := range base {
			if slices.Contains(next, id) == both {
				out = append(out, id)
			}
		}
	}
	for _, id := range next {
		if !slices.Contains(base, id) {
			out = append(out, id)
		}
	}
	return out
}

// Preference returns every member of the active layouts once: ActiveOwners at N = n, then the rest of Base's preference list,
// then that of Next's. The caller owns the slice. It walks the ring, so requests use Guardians.
func (e *Epoch) Preference(p, n int) []NodeID {
	if !e.Joint() {
		return e.Base.Preference(p)
	}
	out := slices.Clone(e.ActiveOwners(p, n))
	seen := make(map[NodeID]bool, len(out))
	for _, id := range out {
		seen[id] = true
	}
	for _, list := range [][]NodeID{e.Base.Preference(e.inBase(p)), e.Next.Preference(p)} {
		for _, id := range list {
			if !seen[id] {
				seen[id] = true
				out = append(out, id)
			}
		}
	}
	return out
}
