package main

import (
	"strings"
	"testing"

	"github.com/starling-db/starling/client"
)

// Each claim holds of what it is about, and of nothing that is a little different.
func TestTourClaims(t *testing.T) {
	dot, other := client.Dot{Actor: 1, HLC: 10 << 16}, client.Dot{Actor: 2, HLC: 20 << 16}
	status := func(nodes ...client.NodeStatus) *client.Status { return &client.Status{Nodes: nodes} }
	node := func(l client.Liveness, ready bool) client.NodeStatus {
		return client.NodeStatus{Liveness: l, Ready: ready}
	}
	result := func(values ...string) *client.Result {
		r := &client.Result{}
		for _, v := range values {
			r.Versions = append(r.Versions, client.Version{Value: []byte(v)})
		}
		return r
	}
	wrote := func(rows ...client.ReplicaTrace) *client.Written {
		return &client.Written{Explain: &client.Explain{Replicas: rows}}
	}
	read := func(rows ...client.ReplicaTrace) *client.Result {
		return &client.Result{Explain: &client.Explain{Replicas: rows}}
	}
	standIn := func(w *client.Written) error {
		name, err := claimStandIn(w, "n3")
		if err == nil && name != "n5" {
			t.Errorf("%s stands in", name)
		}
		return err
	}
	row := client.ReplicaTrace{Node: "n5", Fallback: true, HintFor: "n3", Outcome: "ok"}
	pending, forOther, owner := row, row, row
	pending.Outcome, forOther.HintFor, owner.Fallback = "pending", "n4", false
	answer := client.ReplicaTrace{Node: "n3", Outcome: "ok", Versions: []client.Dot{dot}}
	stale, both, mended, silent, fallback := answer, answer, answer, answer, answer
	stale.Versions, both.Versions, silent.Versions = []client.Dot{other}, []client.Dot{dot, other}, nil
	mended.Repaired, fallback.Fallback, silent.Outcome = true, true, "pending"
	hint := client.HintStatus{Holder: "n5", Target: "n3", Items: 1}
	none, elsewhere := hint, hint
	none.Items, elsewhere.Holder = 0, "n4"
	hints := func(missing []string, all ...client.HintStatus) *client.Hints {
		return &client.Hints{Hints: all, Missing: missing}
	}

	for name, test := range map[string]struct {
		err  error
		want string // part of what is not so; empty: it holds
	}{
		"alive":                    {claimAlive(status(node(client.Alive, true), node(client.Alive, true)), 2), ""},
		"one is dead":              {claimAlive(status(node(client.Alive, true), node(client.Dead, true)), 2), "1 nodes"},
		"one is not ready":         {claimAlive(status(node(client.Alive, true), node(client.Alive, false)), 2), "1 nodes"},
		"stored":                   {claimStored(&client.Written{Acknowledged: 3}, 3), ""},
		"stored on fewer":          {claimStored(&client.Written{Acknowledged: 1}, 2), "1 node has"},
		"alone":                    {claimAlone(&client.Written{Versions: 1}), ""},
		"not alone":                {claimAlone(&client.Written{Versions: 2}), "2 versions"},
		"values":                   {claimValues(result("b", "a"), "a", "b"), ""},
		"a value too many":         {claimValues(result("b", "a"), "a"), `not ["a"]`},
		"a value too few":          {claimValues(result("a"), "a", "b"), `holds ["a"]`},
		"the same value twice":     {claimValues(result("a", "a"), "a"), `holds ["a" "a"]`},
		"a stand-in":               {standIn(wrote(owner, forOther, row)), ""},
		"a stand-in that is late":  {standIn(wrote(pending)), "nobody"},
		"stand-in for another":     {standIn(wrote(forOther)), "nobody"},
		"an owner is no stand-in":  {standIn(wrote(owner)), "nobody"},
		"no explanation":           {standIn(&client.Written{}), "without"},
		"a hint":                   {claimHint(hints(nil, elsewhere, hint), "n5", "n3"), ""},
		"a hint elsewhere":         {claimHint(hints(nil, elsewhere), "n5", "n3"), "keeps nothing"},
		"an empty hint":            {claimHint(hints(nil, none), "n5", "n3"), "keeps nothing"},
		"no hints":                 {claimNoHints(hints(nil)), ""},
		"hints are left":           {claimNoHints(hints(nil, hint)), "n5 still keeps 1 item for n3"},
		"somebody was not asked":   {claimNoHints(hints([]string{"n4"})), "n4 did not say"},
		"serves":                   {claimServes(read(answer), "n3", dot), ""},
		"serves an old version":    {claimServes(read(stale), "n3", dot), "n3 answered"},
		"serves one more version":  {claimServes(read(both), "n3", dot), "n3 answered"},
		"mended by the read":       {claimServes(read(mended), "n3", dot), "repaired"},
		"did not answer":           {claimServes(read(silent), "n3", dot), "pending"},
		"answered as a fallback":   {claimServes(read(fallback), "n3", dot), "not asked"},
		"was not asked":            {claimServes(read(), "n3", dot), "not asked"},
		"read without explanation": {claimServes(&client.Result{}, "n3", dot), "without"},
		"owners":                   {claimOwners(&client.Result{Answered: 3}, 3), ""},
		"two owners":               {claimOwners(&client.Result{Answered: 2}, 3), "2 nodes"},
		"a fallback among them":    {claimOwners(&client.Result{Answered: 3, Fallbacks: 1}, 3), "1 of them"},
	} {
		if test.want == "" && test.err != nil || test.want != "" && (test.err == nil || !strings.Contains(test.err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, test.err, test.want)
		}
	}
}
