package state

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/starling-db/starling/ring"
)

// Candidate is a node of this cluster's name that is alive, as gossip shows it.
type Candidate struct {
	NodeAttributes
	// Founded: it belongs to a cluster already.
	Founded bool
}

// IsFounder reports whether the node that advertises gossipAddr is the one that proposes the founding of a cluster
// of expect nodes: the first of the addresses in --join, or the only node. lookup (may be nil) resolves the host
// of that first address to IP addresses, for nodes that advertise one.
func IsFounder(ctx context.Context, expect int, join []string, gossipAddr string, lookup func(ctx context.Context, host string) ([]string, error)) bool {
	if expect <= 1 || len(join) == 0 {
		return expect == 1
	}
	host, port, err := net.SplitHostPort(join[0])
	if err != nil {
		return strings.EqualFold(join[0], gossipAddr)
	}
	ownHost, ownPort, err := net.SplitHostPort(gossipAddr)
	if err != nil || port != ownPort {
		return false
	}
	if strings.EqualFold(host, ownHost) {
		return true
	}
	if lookup == nil || net.ParseIP(host) != nil {
		return false
	}
	ips, err := lookup(ctx, host)
	return err == nil && slices.Contains(ips, ownHost)
}

// step is what a node without a cluster does next about the founding.
type step uint8

const (
	stepWait    step = iota
	stepAbandon      // give the proposal up and cancel its votes
	stepPropose      // draw a proposal of the members
	stepCollect      // ask the members of the proposal for their votes
)

// situation is what a founding depends on. Pure: plan decides, the runner in founder.go does it.
type situation struct {
	self    ring.NodeID
	founder bool
	expect  int
	// bound: the data directory names a cluster, whose document this node has yet to find.
	bound      bool
	candidates []Candidate // self among them
	unwilling  map[ring.NodeID]bool
	// proposed are the members of this node's live proposal; nil: there is none.
	proposed []NodeAttributes
}

// plan says what to do next. members come with stepPropose; why is for people.
func (s situation) plan() (next step, members []Candidate, why string) {
	switch {
	case s.bound:
		return stepWait, nil, "has data of a cluster: waits for one of its members"
	case s.proposed != nil && !s.founder:
		return stepAbandon, nil, "is no longer the founder"
	case s.expect == 0:
		return stepWait, nil, "is a candidate: waits until a cluster takes it in (it was started without --bootstrap-expect)"
	case slices.ContainsFunc(s.candidates, func(c Candidate) bool { return c.Founded }):
		return stepWait, nil, "is a candidate: the cluster exists already and does not name this node as a member"
	case !s.founder:
		return stepWait, nil, "waits for the founder, the first address in --join"
	}
	members, why = s.electorate()
	if s.proposed == nil {
		if members == nil {
			return stepWait, nil, why
		}
		return stepPropose, members, "proposes the cluster"
	}
	if missing := s.missing(); missing != "" {
		if members == nil {
			return stepWait, nil, "waits for " + missing
		}
		return stepAbandon, nil, "the nodes have changed: " + missing
	}
	return stepCollect, nil, "collects votes"
}

// electorate chooses the nodes that found the cluster: this one and the first others by id. nil, and why, while
// there are too few.
func (s situation) electorate() (members []Candidate, why string) {
	for _, c := range s.candidates {
		if !s.unwilling[c.ID] {
			members = append(members, c)
		}
	}
	if len(members) < s.expect {
		return nil, fmt.Sprintf("waits for nodes: sees %d of the %d that --bootstrap-expect asks for", len(members), s.expect)
	}
	slices.SortFunc(members, func(a, b Candidate) int {
		if (a.ID == s.self) != (b.ID == s.self) {
			if a.ID == s.self {
				return -1
			}
			return 1
		}
		return a.ID.Compare(b.ID)
	})
	members = members[:s.expect]
	named := make(map[string]ring.NodeID, len(members))
	for _, c := range members {
		if other, taken := named[c.Name]; taken {
			return nil, fmt.Sprintf("two nodes call themselves %q (%s and %s): give one of them another --name", c.Name, other, c.ID)
		}
		named[c.Name] = c.ID
	}
	return members, ""
}

// missing names the first member of the proposal that is not there as it was proposed.
func (s situation) missing() string {
	for _, n := range s.proposed {
		i := slices.IndexFunc(s.candidates, func(c Candidate) bool { return c.ID == n.ID })
		switch {
		case i < 0:
			return fmt.Sprintf("node %s (%s) is away", n.Name, n.ID)
		case s.unwilling[n.ID]:
			return fmt.Sprintf("node %s (%s) was started with another --bootstrap-expect, or without", n.Name, n.ID)
		case s.candidates[i].Zone != n.Zone || s.candidates[i].Name != n.Name:
			return fmt.Sprintf("node %s (%s) has changed its name or zone", n.Name, n.ID)
		}
	}
	return ""
}
