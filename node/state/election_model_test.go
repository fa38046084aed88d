package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// The rules of the founding, explored exhaustively: every order in which messages arrive, late, twice or never, with
// founders that crash between any two of their durable writes, and that may give up proposals at any time.
// Voters answer by voter.rule itself. A founder's few rules are written out here again: it counts grants for its live proposal
// only, gives one up durably before it cancels it, and decides when all have granted.

// world is one state of the model. Messages are sets: what was sent once may arrive at any time and any number of times.
type world struct {
	votes     [3]int8  // by node: the proposal that it voted for, 0 none
	decided   [3]int8  // by node: the proposal whose cluster it is in, 0 none
	drawn     [2]int8  // by founder: how many proposals it has drawn; the last may be live
	abandoned [2]int8  // by founder: how many it has given up
	granted   [2]uint8 // by founder: bits of the nodes whose grants for the live proposal it remembers; lost by a crash
	asked     uint8    // bits of the proposals that VOTE was sent for
	cancelled uint8    // and CANCEL
	told      uint8    // and DECIDE
}

// Proposals 1 and 2 are of founder 0, 3 and 4 of founder 1.
const perFounder = 2

func proposalOf(founder int, nth int8) int8 { return int8(founder)*perFounder + nth }

func (w world) live(f int) int8 {
	if w.drawn[f] > w.abandoned[f] {
		return proposalOf(f, w.drawn[f])
	}
	return 0
}

// modelRules are what a test takes away to see the model fail.
type modelRules struct {
	freeVotes    bool // a voter takes the latest proposal, whatever it voted for
	hastyFounder bool // a founder may decide a proposal that it gave up
}

type model struct {
	t         *testing.T
	nodes     int
	proposals map[int8]*pb.Propose // steps unset
	docs      map[int8]*Document
	rules     modelRules
	answers   map[question]answered // what rule said, for the same question is asked in many worlds
}

type question struct {
	node          int
	step          pb.Propose_Step
	proposal      int8
	vote, decided int8
}

type answered struct {
	ruling
	err error
}

func newModel(t *testing.T, nodes int, rules modelRules) *model {
	m := &model{t: t, nodes: nodes, proposals: make(map[int8]*pb.Propose), docs: make(map[int8]*Document), rules: rules, answers: make(map[question]answered)}
	c := newCluster(t, nodes, func(o *Options) { o.Expect = nodes })
	var members []Candidate
	for i := range nodes {
		members = append(members, Candidate{NodeAttributes: c.attributes(nodeID(i))})
	}
	for f := range 2 {
		for n := int8(1); n <= perFounder; n++ {
			d, err := c.node(f).newCluster(members)
			if err != nil {
				t.Fatal(err)
			}
			p := proposalOf(f, n)
			founder, id := nodeID(f), make([]byte, proposalIDLen)
			id[0] = byte(p)
			m.docs[p] = d
			m.proposals[p] = &pb.Propose{ProposalId: id, FounderId: founder[:], Document: d.Bytes()}
		}
	}
	return m
}

// rule asks the code under test what node i answers to a message about a proposal.
func (m *model) rule(w world, i int, step pb.Propose_Step, proposal int8) (ruling, error) {
	q := question{i, step, proposal, w.votes[i], w.decided[i]}
	a, known := m.answers[q]
	if !known {
		a.ruling, a.err = m.ask(w, i, step, proposal)
		m.answers[q] = a
	}
	return a.ruling, a.err
}

func (m *model) ask(w world, i int, step pb.Propose_Step, proposal int8) (ruling, error) {
	id := nodeID(i)
	own, err := emptyDocument("test")
	if err != nil {
		m.t.Fatal(err)
	}
	v := voter{self: id, cluster: "test", expect: m.nodes, doc: own}
	if d := w.decided[i]; d > 0 {
		v.doc = m.docs[d]
	}
	if p := w.votes[i]; p > 0 && !(m.rules.freeVotes && step == pb.Propose_STEP_VOTE) {
		q := m.proposals[p]
		v.vote = &pb.Vote{ProposalId: q.GetProposalId(), FounderId: q.GetFounderId(), Document: q.GetDocument()}
	}
	q := m.proposals[proposal]
	return v.rule(ring.NodeID(q.GetFounderId()), &pb.Propose{
		Step: step, ProposalId: q.GetProposalId(), FounderId: q.GetFounderId(), Document: q.GetDocument(),
	})
}

// deliver applies one message to node i. The reply may be lost: both worlds come back.
func (m *model) deliver(w world, i int, step pb.Propose_Step, proposal int8) []world {
	r, err := m.rule(w, i, step, proposal)
	if err != nil {
		return nil
	}
	if r.vote == nil {
		w.votes[i] = 0
	} else {
		w.votes[i] = int8(r.vote.GetProposalId()[0])
	}
	if r.adopt != nil {
		w.decided[i] = proposal
	}
	out := []world{w}
	if f := int(proposal-1) / perFounder; step == pb.Propose_STEP_VOTE && r.granted {
		if w.live(f) == proposal || m.rules.hastyFounder {
			w.granted[f] |= 1 << i
			out = append(out, w)
		}
	}
	return out
}

func (m *model) next(w world) (out []world) {
	for f := range 2 {
		live := w.live(f)
		free := w.decided[f] == 0
		if free && live == 0 && w.drawn[f] < perFounder {
			v := w
			v.drawn[f]++
			v.granted[f] = 0
			v.asked |= 1 << proposalOf(f, v.drawn[f])
			out = append(out, v)
		}
		if free && live > 0 {
			v := w // give it up: durable first, the cancellations may follow or not
			v.abandoned[f]++
			if !m.rules.hastyFounder {
				v.granted[f] = 0
			}
			out = append(out, v)
		}
		if w.granted[f] != 0 {
			v := w // crash
			v.granted[f] = 0
			out = append(out, v)
		}
		last := proposalOf(f, w.drawn[f])
		if free && w.granted[f] == 1<<m.nodes-1 && (live > 0 || m.rules.hastyFounder) {
			v := w
			v.decided[f] = last
			v.told |= 1 << last
			out = append(out, v)
		}
		for n := int8(1); n <= w.abandoned[f]; n++ {
			v := w
			v.cancelled |= 1 << proposalOf(f, n)
			out = append(out, v)
		}
	}
	for p := int8(1); p <= 2*perFounder; p++ {
		for i := range m.nodes {
			if w.asked&(1<<p) != 0 {
				out = append(out, m.deliver(w, i, pb.Propose_STEP_VOTE, p)...)
			}
			if w.cancelled&(1<<p) != 0 {
				out = append(out, m.deliver(w, i, pb.Propose_STEP_CANCEL, p)...)
			}
			if w.told&(1<<p) != 0 {
				out = append(out, m.deliver(w, i, pb.Propose_STEP_DECIDE, p)...)
			}
		}
	}
	return out
}

func (w world) clusters() (ids []int8) {
	for _, d := range w.decided {
		if d > 0 && !slices.Contains(ids, d) {
			ids = append(ids, d)
		}
	}
	return ids
}

// explore visits all worlds that can be reached and returns how many, and one with two clusters, if there is any.
func (m *model) explore() (visited int, bad *world, founded bool) {
	seen := map[world]bool{{}: true}
	queue := []world{{}}
	for len(queue) > 0 {
		w := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		switch len(w.clusters()) {
		case 0:
		case 1:
			founded = true
		default:
			return len(seen), &w, founded
		}
		for _, v := range m.next(w) {
			if !seen[v] {
				seen[v] = true
				queue = append(queue, v)
			}
		}
	}
	return len(seen), nil, founded
}

func TestModelOfTheFounding(t *testing.T) {
	m := newModel(t, 3, modelRules{})
	visited, bad, founded := m.explore()
	t.Logf("%d states", visited)
	if bad != nil {
		t.Errorf("two clusters: %s", bad.describe())
	}
	if !founded {
		t.Error("no state has a cluster: the model models nothing")
	}
}

func TestModelOfTheFoundingNeedsItsRules(t *testing.T) {
	for name, rules := range map[string]modelRules{
		"votes that are not binding":             {freeVotes: true},
		"founders that decide what they gave up": {hastyFounder: true},
	} {
		if _, bad, _ := newModel(t, 2, rules).explore(); bad == nil {
			t.Errorf("with %s the model still finds no two clusters", name)
		}
	}
}

func (w world) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "votes %v decided %v drawn %v abandoned %v", w.votes, w.decided, w.drawn, w.abandoned)
	return b.String()
}
