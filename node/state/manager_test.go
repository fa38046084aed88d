package state

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/starling-db/starling/ring"
)

func TestNothingIsVisibleBeforeItIsDurable(t *testing.T) {
	c := found(t, 3)
	m, d := c.node(1), c.disks[nodeID(1)]
	before := m.Fingerprint()
	d.mu.Lock()
	d.left = 0
	d.mu.Unlock()
	self := c.attributes(nodeID(1))
	self.PeerAddr = "elsewhere:1"
	if err := m.SetSelf(t.Context(), self); !errors.Is(err, errCrashed) {
		t.Fatalf("SetSelf on a failed disk: %v", err)
	}
	if m.Fingerprint() != before || m.Self().PeerAddr == "elsewhere:1" {
		t.Error("the change took effect without being durable")
	}
}

func TestANodeIsTheOnlyWriterOfItsEntry(t *testing.T) {
	c := found(t, 2)
	m := c.node(0)
	generation := m.Self().Generation
	self := c.attributes(nodeID(0))
	if err := m.SetSelf(t.Context(), self); err != nil || m.Self().Generation != generation {
		t.Fatalf("the same attributes again: generation %d, %v", m.Self().Generation, err)
	}
	self.PeerAddr = "moved:7401"
	if err := m.SetSelf(t.Context(), self); err != nil || m.Self().Generation != generation+1 {
		t.Fatalf("another address: generation %d, %v", m.Self().Generation, err)
	}
	c.settle(t)
	if a := c.node(1).Snapshot().Nodes[nodeID(0)]; a.PeerAddr != "moved:7401" {
		t.Errorf("the peer knows %+v", a)
	}
	// The disk is put back: the cluster remembers a later generation of the entry than the node itself.
	stale := c.start(nodeID(0)) // has the old address, by the test's set-up
	c.settle(t)
	if a := c.node(1).Snapshot().Nodes[nodeID(0)]; a.PeerAddr != "n0:7401" || a.Generation <= generation+1 || stale.Self() != a {
		t.Errorf("after the node has come back: %+v", a)
	}
}

func TestADirectoryOfAnotherClusterIsRefused(t *testing.T) {
	a, b := found(t, 1), found(t, 1)
	a.disks[nodeID(0)].meta = b.disks[nodeID(0)].meta
	o := a.node(0).o
	o.ClusterID = a.disks[nodeID(0)].adopted
	if _, err := New(o); !errors.Is(err, ErrConflict) {
		t.Errorf("New with a document of another cluster: %v", err)
	}
	o.Cluster = "renamed"
	if _, err := New(o); !errors.Is(err, ErrConflict) {
		t.Errorf("New with another cluster name: %v", err)
	}
}

func TestOfferRefusesWhatIsNotOurs(t *testing.T) {
	c := found(t, 2)
	m := c.node(0)
	before := m.Fingerprint()
	if changed, err := m.Offer(t.Context(), m.Document()); changed || err != nil {
		t.Errorf("its own document: %v, %v", changed, err)
	}
	if _, err := m.Offer(t.Context(), []byte("garbage")); !errors.Is(err, ErrDocument) {
		t.Errorf("garbage: %v", err)
	}
	foreign := newUniverse(t, 77)
	for range 5 {
		d := foreign.draw(t)
		if _, err := m.Offer(t.Context(), d.Bytes()); d.Founded() && !errors.Is(err, ErrConflict) {
			t.Errorf("another cluster's: %v", err)
		}
	}
	if m.Fingerprint() != before {
		t.Error("the document has changed")
	}
}

func TestANodeWithDataWaitsForItsCluster(t *testing.T) {
	c := newCluster(t, 1, func(o *Options) { o.Expect, o.Founder, o.ClusterID = 1, true, [16]byte{5} })
	for range 3 {
		takeStep(t, c, 0)
	}
	if m := c.node(0); m.Snapshot().Founded() || m.Waiting() == "" {
		t.Errorf("a node whose directory names a cluster has founded one: %q", m.Waiting())
	}
}

func TestSubscribersAreToldOfChangesAlone(t *testing.T) {
	c := found(t, 1)
	m := c.node(0)
	var calls atomic.Int32
	m.OnChange(func() {
		m.OnChange(func() {}) // no lock is held
		calls.Add(1)
	})
	self := c.attributes(nodeID(0))
	for _, addr := range []string{"a:1", "a:1", "b:1"} {
		self.PeerAddr = addr
		if err := m.SetSelf(t.Context(), self); err != nil {
			t.Fatal(err)
		}
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls for 2 changes", n)
	}
}

func TestMemberNamed(t *testing.T) {
	c := found(t, 2)
	if id, ok := c.node(0).Snapshot().MemberNamed("n1"); !ok || id != nodeID(1) {
		t.Errorf("n1 is %v, %v", id, ok)
	}
	if _, ok := c.node(0).Snapshot().MemberNamed("n9"); ok {
		t.Error("a name that nobody has is a member's")
	}
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	c := found(t, 1)
	release, err := take(t.Context(), c.node(0).turn)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.node(0).SetSelf(ctx, c.attributes(nodeID(0))); !errors.Is(err, context.Canceled) {
		t.Errorf("SetSelf while another has the turn: %v", err)
	}
}

func TestIsFounder(t *testing.T) {
	lookup := func(_ context.Context, host string) ([]string, error) {
		if host == "first.example" {
			return []string{"10.0.0.1"}, nil
		}
		return nil, &net.DNSError{Name: host}
	}
	for _, c := range []struct {
		expect int
		join   []string
		addr   string
		want   bool
	}{
		{1, nil, "10.0.0.1:7402", true},
		{1, []string{"10.0.0.9:7402"}, "10.0.0.1:7402", true},
		{0, []string{"10.0.0.1:7402"}, "10.0.0.1:7402", false},
		{3, nil, "10.0.0.1:7402", false},
		{3, []string{"10.0.0.1:7402", "10.0.0.2:7402"}, "10.0.0.1:7402", true},
		{3, []string{"10.0.0.1:7402", "10.0.0.2:7402"}, "10.0.0.2:7402", false},
		{3, []string{"10.0.0.1:7402"}, "10.0.0.1:7412", false},
		{3, []string{"First:7402"}, "first:7402", true},
		{3, []string{"first.example:7402"}, "10.0.0.1:7402", true},
		{3, []string{"second.example:7402"}, "10.0.0.1:7402", false},
		{3, []string{"first.example"}, "first.example", true},
	} {
		if got := IsFounder(t.Context(), c.expect, c.join, c.addr, lookup); got != c.want {
			t.Errorf("expect %d, join %v, address %s: %v", c.expect, c.join, c.addr, got)
		}
	}
}

func TestPlan(t *testing.T) {
	cand := func(i int, name string) Candidate {
		return Candidate{NodeAttributes: NodeAttributes{ID: nodeID(i), Name: name}}
	}
	three := []Candidate{cand(0, "a"), cand(1, "b"), cand(2, "c")}
	proposal := []NodeAttributes{three[0].NodeAttributes, three[1].NodeAttributes, three[2].NodeAttributes}
	moved := cand(1, "b")
	moved.Zone = "other"
	founded := cand(3, "d")
	founded.Founded = true
	for name, c := range map[string]struct {
		s    situation
		want step
	}{
		"alone":                    {situation{founder: true, expect: 3, candidates: three[:1]}, stepWait},
		"complete":                 {situation{founder: true, expect: 3, candidates: three}, stepPropose},
		"no founder":               {situation{expect: 3, candidates: three}, stepWait},
		"no part in it":            {situation{candidates: three}, stepWait},
		"two of one name":          {situation{founder: true, expect: 3, candidates: []Candidate{three[0], three[1], cand(2, "b")}}, stepWait},
		"a cluster is there":       {situation{founder: true, expect: 3, candidates: append([]Candidate{founded}, three...)}, stepWait},
		"proposed":                 {situation{founder: true, expect: 3, candidates: three, proposed: proposal}, stepCollect},
		"one away":                 {situation{founder: true, expect: 3, candidates: three[:2], proposed: proposal}, stepWait},
		"one replaced":             {situation{founder: true, expect: 3, candidates: []Candidate{three[0], three[1], cand(4, "c")}, proposed: proposal}, stepAbandon},
		"one in another zone":      {situation{founder: true, expect: 3, candidates: []Candidate{three[0], moved, three[2]}, proposed: proposal}, stepAbandon},
		"no longer the founder":    {situation{expect: 3, candidates: three, proposed: proposal}, stepAbandon},
		"no longer a founder's":    {situation{candidates: three, proposed: proposal}, stepAbandon},
		"has data":                 {situation{founder: true, expect: 3, bound: true, candidates: three}, stepWait},
		"one unwilling, a fourth":  {situation{founder: true, expect: 3, candidates: append([]Candidate{cand(4, "e")}, three...), proposed: proposal, unwilling: map[ring.NodeID]bool{nodeID(2): true}}, stepAbandon},
		"one unwilling, no fourth": {situation{founder: true, expect: 3, candidates: three, proposed: proposal, unwilling: map[ring.NodeID]bool{nodeID(2): true}}, stepWait},
	} {
		c.s.self = nodeID(0)
		if got, _, why := c.s.plan(); got != c.want || why == "" {
			t.Errorf("%s: step %d (%s), want %d", name, got, why, c.want)
		}
	}
	// The founder is always among those who found, the others are chosen by id.
	s := situation{self: nodeID(9), founder: true, expect: 2, candidates: append([]Candidate{cand(9, "z")}, three...)}
	if _, members, _ := s.plan(); len(members) != 2 || members[0].ID != nodeID(9) || members[1].ID != nodeID(0) {
		t.Errorf("the electorate is %v", members)
	}
}

func TestPullStateGivesTheDocument(t *testing.T) {
	c := found(t, 2)
	reply, err := c.node(0).PullState(t.Context(), nodeID(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.node(1).Offer(t.Context(), reply.GetDocument()); err != nil {
		t.Fatal(err)
	}
	if c.node(0).Fingerprint() != c.node(1).Fingerprint() {
		t.Error("the documents still differ")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := found(t, 1).node(0).o
	for what, spoil := range map[string]func(*Options){
		"no id":           func(o *Options) { o.ID = ring.NodeID{} },
		"no cluster name": func(o *Options) { o.Cluster = "" },
		"negative expect": func(o *Options) { o.Expect = -1 },
		"no store":        func(o *Options) { o.Store = nil },
		"no push":         func(o *Options) { o.Push = nil },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
