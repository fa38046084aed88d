package ring

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ChangeKind is what a Change does.
type ChangeKind uint8

const (
	// AddNode makes Node a member, in Zone and with Weight.
	AddNode ChangeKind = iota
	// RemoveNode takes Node out: what it owns goes to others.
	RemoveNode
	// ReplaceNode puts With, in Zone, where Node is, with the weight that Node has: With gets the
	// partitions that Node had, and nothing else moves as long as the zone is the same.
	ReplaceNode
	// SetWeight gives Node another Weight.
	SetWeight
	// SetZone says that Node is in Zone.
	SetZone
	// SplitPartitions cuts every partition so that there are Partitions. It goes alone: see Split.
	SplitPartitions
)

// String is the verb that operators use.
func (k ChangeKind) String() string {
	if names := [...]string{"add", "remove", "replace", "weight", "zone", "split"}; int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Change is one thing that an operator wants to be different. Fields that its kind does not speak of
// are ignored.
type Change struct {
	Kind       ChangeKind
	Node       NodeID
	With       NodeID
	Zone       string
	Weight     uint32
	Partitions int
}

// ErrChange is what every *ChangeError matches.
var ErrChange = errors.New("cannot change the ring")

// ChangeError says which of the changes given to PlanChanges can't be made.
type ChangeError struct {
	// Index is the change's, -1 if it is about all together.
	Index int
	// Change is the one at Index.
	Change Change
	// Reason says what is wrong and what to do.
	Reason string
}

func (e *ChangeError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("%v: %s", ErrChange, e.Reason)
	}
	if e.Change.Kind == SplitPartitions {
		return fmt.Sprintf("%v: %v into %d: %s", ErrChange, e.Change.Kind, e.Change.Partitions, e.Reason)
	}
	return fmt.Sprintf("%v: %v %v: %s", ErrChange, e.Change.Kind, e.Change.Node, e.Reason)
}

// Unwrap makes a ChangeError match ErrChange.
func (e *ChangeError) Unwrap() error { return ErrChange }

// PlanChanges makes the layout that changes ask for, in whatever order they are given; version numbers
// it. It moves as little from l as Plan can, and owner lists are as long as the members allow.
//
// Errors are *ChangeError, for what contradicts the layout or another change or changes nothing, and
// *PlanError.
func PlanChanges(l *Layout, changes []Change, version uint64) (*Layout, error) {
	if len(changes) == 0 {
		return nil, &ChangeError{Index: -1, Reason: "nothing is to be changed"}
	}
	s := staging{from: l, members: make(map[NodeID]Member), named: make(map[NodeID]bool), replaced: make(map[NodeID]Member)}
	for _, m := range l.members {
		s.members[m.ID] = m
	}
	for i, c := range changes {
		if c.Kind == SplitPartitions {
			if len(changes) > 1 {
				return nil, &ChangeError{Index: i, Change: c, Reason: "goes alone: make the other changes before or after it"}
			}
			return Split(l, c.Partitions, version)
		}
		if reason := s.take(c); reason != "" {
			return nil, &ChangeError{Index: i, Change: c, Reason: reason}
		}
	}
	if len(s.members) == 0 {
		return nil, &ChangeError{Index: -1, Reason: "no member would be left"}
	}
	next, err := Plan(PlanInput{
		Members: slices.Collect(maps.Values(s.members)), Partitions: l.Partitions(),
		Replicas: min(MaxReplicas, len(s.members)), Previous: l.substitute(s.replaced), Version: version,
	})
	if err == nil && slices.Equal(next.members, l.members) {
		return nil, &ChangeError{Index: -1, Reason: "all members are as they are to be already"}
	}
	return next, err
}

// staging takes in changes one by one. No two may be about one node, so their order means nothing.
type staging struct {
	from     *Layout
	members  map[NodeID]Member
	named    map[NodeID]bool
	replaced map[NodeID]Member // by whom they replace
}

// take says what is wrong with a change, or nothing.
func (s *staging) take(c Change) string {
	if reason := s.name(c.Node); reason != "" {
		return reason
	}
	m, member := s.from.Member(c.Node)
	if c.Kind == AddNode {
		if member {
			return "it is a member already"
		}
		m = Member{ID: c.Node, Zone: c.Zone, Weight: c.Weight}
	} else if !member {
		return "it is no member"
	}
	switch c.Kind {
	case AddNode:
	case RemoveNode:
		delete(s.members, c.Node)
		return ""
	case ReplaceNode:
		if reason := s.name(c.With); reason != "" {
			return reason
		}
		if _, member := s.from.Member(c.With); member {
			return fmt.Sprintf("node %v, which is to take its place, is a member already", c.With)
		}
		delete(s.members, c.Node)
		m.ID, m.Zone = c.With, c.Zone
		s.replaced[c.Node] = m
	case SetWeight:
		m.Weight = c.Weight
	case SetZone:
		m.Zone = c.Zone
	default:
		return "a change that this program does not know"
	}
	s.members[m.ID] = m
	return ""
}

func (s *staging) name(id NodeID) string {
	switch {
	case id.IsZero():
		return "no node"
	case s.named[id]:
		return fmt.Sprintf("another change names node %v: decide for one of them", id)
	}
	s.named[id] = true
	return ""
}

// substitute is the layout with other nodes in the places of some. It is a plan's Previous and nothing
// else: zones need not be spread as they should.
func (l *Layout) substitute(with map[NodeID]Member) *Layout {
	if len(with) == 0 {
		return l
	}
	members := make([]Member, len(l.members))
	for i, m := range l.members {
		members[i] = m
		if by, ok := with[m.ID]; ok {
			members[i] = by
		}
	}
	byID := slices.SortedFunc(slices.Values(members), func(a, b Member) int { return a.ID.Compare(b.ID) })
	at := make([]uint16, len(members))
	for i, m := range members {
		j, _ := slices.BinarySearchFunc(byID, m.ID, func(m Member, id NodeID) int { return m.ID.Compare(id) })
		at[i] = uint16(j)
	}
	owners := make([]uint16, len(l.owners))
	for i, o := range l.owners {
		owners[i] = at[o]
	}
	return newLayout(l.version, byID, l.Partitions(), l.replicas, owners)
}
