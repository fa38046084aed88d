package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/starling-db/starling/client"
)

// What the tour claims, as functions of what the cluster has answered. Each returns what is not so.

// claimAlive: so many nodes are alive and take requests.
func claimAlive(s *client.Status, nodes int) error {
	ready := 0
	for _, n := range s.Nodes {
		if n.Liveness == client.Alive && n.Ready {
			ready++
		}
	}
	if ready != nodes {
		return fmt.Errorf("%d nodes are alive and ready, not %d", ready, nodes)
	}
	return nil
}

// claimStored: so many nodes have acknowledged a write, or more.
func claimStored(w *client.Written, replicas int) error {
	if w.Acknowledged < replicas {
		return fmt.Errorf("%s acknowledged it, not %d", counted(w.Acknowledged, "node has", "nodes have"), replicas)
	}
	return nil
}

// claimAlone: a write has left one version, its own.
func claimAlone(w *client.Written) error {
	if w.Versions != 1 {
		return fmt.Errorf("the item has %d versions now, not one", w.Versions)
	}
	return nil
}

// claimValues: a read found just these versions, in any order.
func claimValues(r *client.Result, want ...string) error {
	var got []string
	for _, v := range r.Versions {
		got = append(got, string(v.Value))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("the item holds %q, not %q", got, want)
	}
	return nil
}

// claimStandIn: another node took a write in the place of the owner, and counts. It returns that node.
func claimStandIn(w *client.Written, owner string) (string, error) {
	if w.Explain == nil {
		return "", errors.New("the write came without an explanation")
	}
	for _, r := range w.Explain.Replicas {
		if r.Fallback && r.HintFor == owner && r.Outcome == "ok" {
			return r.Node, nil
		}
	}
	return "", fmt.Errorf("nobody has stood in for %s", owner)
}

// claimHint: holder keeps something for target.
func claimHint(h *client.Hints, holder, target string) error {
	for _, s := range h.Hints {
		if s.Holder == holder && s.Target == target && s.Items > 0 {
			return nil
		}
	}
	return fmt.Errorf("%s keeps nothing for %s", holder, target)
}

// claimNoHints: all nodes were asked, and none keeps anything for another.
func claimNoHints(h *client.Hints) error {
	if len(h.Missing) > 0 {
		return fmt.Errorf("%s did not say what they hold", strings.Join(h.Missing, ", "))
	}
	for _, s := range h.Hints {
		return fmt.Errorf("%s still keeps %s for %s", s.Holder, counted(int(s.Items), "item", "items"), s.Target)
	}
	return nil
}

// claimServes: an owner answered a read with just the version dot, without having been mended by the read itself.
func claimServes(r *client.Result, owner string, dot client.Dot) error {
	if r.Explain == nil {
		return errors.New("the read came without an explanation")
	}
	for _, row := range r.Explain.Replicas {
		if row.Node != owner || row.Fallback {
			continue
		}
		if row.Outcome != "ok" || row.Repaired || !slices.Equal(row.Versions, []client.Dot{dot}) {
			return fmt.Errorf("%s answered %s with %s, not %s", owner, outcome(row), dots(row.Versions), dots([]client.Dot{dot}))
		}
		return nil
	}
	return fmt.Errorf("%s was not asked", owner)
}

// claimOwners: so many owners answered a read, and no stand-in.
func claimOwners(r *client.Result, owners int) error {
	if r.Answered != owners || r.Fallbacks > 0 {
		return fmt.Errorf("%s answered, %d of them standing in; want %d owners", counted(r.Answered, "node", "nodes"), r.Fallbacks, owners)
	}
	return nil
}
