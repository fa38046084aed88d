package ring

import "slices"

// Target is one node that a request goes to.
type Target struct {
	Node NodeID
	// HintFor is the unreachable owner that Node stands in for, so that what Node keeps carries a
	// hint for that owner. Zero: Node is an owner and stands for itself.
	HintFor NodeID
}

// Preference returns a partition's whole preference list: every member once, the owners first, then
// the nodes met walking on clockwise, zones spread. It does not depend on N (see the package's
// documentation). The caller owns the slice. It walks the ring, so requests, which need the first
// few nodes only, use Guardians.
func (l *Layout) Preference(p int) []NodeID { return l.walk(p, len(l.members)) }

// Guardians returns the first 2n nodes of a partition's preference list, or all of a smaller ring:
// those that coordinate its writes at N = n and hold its hints. n is clamped to [0, Replicas()].
// The slice is the layout's own: read only.
func (l *Layout) Guardians(p, n int) []NodeID {
	head := l.head(p)
	g := min(2*min(max(n, 0), l.replicas), len(head))
	return head[:g:g]
}

// IsGuardian reports whether id is among the guardians of a partition at N = n.
func (l *Layout) IsGuardian(p, n int, id NodeID) bool {
	return slices.Contains(l.Guardians(p, n), id)
}

// Preflist returns the nodes that a sloppy request about a partition goes to; see AppendPreflist.
func (l *Layout) Preflist(p, n int, up func(NodeID) bool) []Target {
	return l.AppendPreflist(nil, p, n, up)
}

// AppendPreflist appends to dst the first n guardians of a partition for which up holds, in
// preference order: the owners that are up, each for itself, then one fallback for each owner that
// is down, the first for the first. When too few guardians are up the last of those owners get
// none, and fewer than n targets are appended. up is called at most once for each guardian.
//
// It does not allocate when dst has room for n more, once the partition has been asked for before.
func (l *Layout) AppendPreflist(dst []Target, p, n int, up func(NodeID) bool) []Target {
	owners := l.Owners(p, n)
	fallbacks := l.Guardians(p, n)[len(owners):]
	var down [MaxReplicas]NodeID
	waiting := down[:0]
	for _, id := range owners {
		if up(id) {
			dst = append(dst, Target{Node: id})
		} else {
			waiting = append(waiting, id)
		}
	}
	for _, id := range fallbacks {
		if len(waiting) == 0 {
			break
		}
		if up(id) {
			dst = append(dst, Target{Node: id, HintFor: waiting[0]})
			waiting = waiting[1:]
		}
	}
	return dst
}

// head returns the start of a partition's preference list, long enough for the guardians of any n.
func (l *Layout) head(p int) []NodeID {
	if cached := l.heads[p].Load(); cached != nil {
		return *cached
	}
	head := l.walk(p, min(2*l.replicas, len(l.members)))
	l.heads[p].Store(&head)
	return head
}
