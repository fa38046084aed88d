// Package placement checks what the nodes hold for their ring: all the same epoch and layout, and in it each partition
// owned by N different nodes that the layout names, or by all if they are fewer.
package placement

import (
	"fmt"
	"slices"

	"github.com/starling-db/starling/internal/history"
)

const name = "placement"

// Check looks at the layouts at the end.
func Check(run *history.Run) (out []history.Violation) {
	violated := func(format string, args ...any) {
		out = append(out, history.Violation{Checker: name, Op: -1, Message: fmt.Sprintf(format, args...)})
	}
	for i, v := range run.Layouts {
		if first := run.Layouts[0]; v.Epoch != first.Epoch {
			violated("%s is at epoch %d, and %s at %d", v.Node, v.Epoch, first.Node, first.Epoch)
		} else if v.Digest != first.Digest {
			violated("%s and %s have different layouts of epoch %d", v.Node, first.Node, v.Epoch)
		}
		if i > 0 && slices.EqualFunc(v.Owners, run.Layouts[0].Owners, slices.Equal[[]string]) {
			continue // judged already
		}
		if len(v.Owners) == 0 {
			violated("%s knows no partition", v.Node)
		}
		for p, owners := range v.Owners {
			if fault := faulty(v, owners); fault != "" {
				violated("%s: partition %d, owners %v: %s", v.Node, p, owners, fault)
			}
		}
	}
	return out
}

// faulty says what is wrong with the owners of a partition.
func faulty(v history.LayoutView, owners []string) string {
	for i, o := range owners {
		if slices.Contains(owners[:i], o) {
			return o + " twice"
		}
		if !slices.Contains(v.Nodes, o) {
			return o + " is no node of the layout"
		}
	}
	if want := min(v.N, len(v.Nodes)); len(owners) != want {
		return fmt.Sprintf("%d instead of %d", len(owners), want)
	}
	return ""
}
