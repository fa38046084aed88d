// Package converged checks that a cluster comes to rest. When all faults are over all owners of an item hold the same,
// byte for byte, pasts included; nobody else holds any of it, for copies on behalf of others are dropped once handed
// over; and no hint is left within a stated time. A node that never came back excuses hints and the copies that they
// are for, not differences between owners.
package converged

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/history"
)

const name = "converged"

// Within is how long it may take, once all nodes are back, until no hint is left.
const Within = 60 * time.Second

// Check looks at the copies and hints at the end.
func Check(run *history.Run) (out []history.Violation) {
	violated := func(key history.Key, format string, args ...any) {
		out = append(out, history.Violation{Checker: name, Key: key, Op: -1, Message: fmt.Sprintf(format, args...)})
	}
	for _, f := range run.Finals {
		var first *history.Copy
		for i := range f.Copies {
			c := &f.Copies[i]
			switch {
			case !c.Owner:
				if len(c.State) > 0 && len(run.Gone) == 0 {
					violated(f.Key, "%s is no owner and still has a copy: %s", c.Node, text(c.Versions))
				}
			case first == nil:
				first = c
			case !bytes.Equal(unpurged(first.State, run.PurgedBefore), unpurged(c.State, run.PurgedBefore)):
				violated(f.Key, "owners differ: %s has %d bytes: %s; %s has %d bytes: %s",
					first.Node, len(first.State), text(first.Versions), c.Node, len(c.State), text(c.Versions))
			}
		}
	}
	if len(run.Gone) > 0 {
		return out
	}
	for _, node := range slices.Sorted(maps.Keys(run.HintsLeft)) {
		if n := run.HintsLeft[node]; n > 0 {
			violated(history.Key{}, "%s has %d hints left", node, n)
		}
	}
	if run.HealedAfter > Within {
		violated(history.Key{}, "hints were left for %v once all nodes were back: at most %v", run.HealedAfter, Within)
	}
	return out
}

// unpurged is a state as it is when everything is purged that some owner may have: they do so each in its own time.
func unpurged(b []byte, before causal.HLC) []byte {
	state, err := causal.DecodeState(b)
	if err != nil {
		return b // that it can't be decoded is another checker's business
	}
	state, some := causal.Purge(state, before, before)
	switch {
	case !some:
		return b
	case len(state.Versions) == 0:
		return nil
	default:
		return causal.AppendState(nil, state)
	}
}

func text(versions []history.Version) string {
	out := "nothing"
	for i, v := range versions {
		if i == 0 {
			out = ""
		} else {
			out += ", "
		}
		out += fmt.Sprintf("%s %q %v", v.Write, v.Value, v.Dot)
	}
	return out
}
