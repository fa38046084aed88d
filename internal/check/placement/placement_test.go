package placement_test

import (
	"testing"

	"github.com/starling-db/starling/internal/check/placement"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

func view(node string) history.LayoutView {
	return history.LayoutView{
		Node: node, Epoch: 4, Digest: "d", N: 3, Nodes: []string{"n1", "n2", "n3", "n4"},
		Owners: [][]string{{"n1", "n2", "n3"}, {"n4", "n1", "n2"}},
	}
}

func TestCheck(t *testing.T) {
	with := func(change func(v *history.LayoutView)) func(*history.Run) {
		return func(run *history.Run) {
			run.Layouts = []history.LayoutView{view("n1"), view("n2"), view("n3")}
			change(&run.Layouts[1])
		}
	}
	nothing := func(*story.Story) {}
	story.Expect(t, placement.Check, []story.Case{
		{Name: "nobody looked", Tell: nothing},
		{Name: "agreed", Tell: nothing, Edit: with(func(*history.LayoutView) {})},
		{Name: "few nodes", Tell: nothing, Edit: func(run *history.Run) {
			run.Layouts = []history.LayoutView{{Node: "n1", N: 3, Nodes: []string{"n1", "n2"}, Owners: [][]string{{"n2", "n1"}}}}
		}},

		{Name: "another epoch", Tell: nothing, Edit: with(func(v *history.LayoutView) { v.Epoch = 5 }), Want: "n2 is at epoch 5, and n1 at 4"},
		{Name: "another layout", Tell: nothing, Edit: with(func(v *history.LayoutView) { v.Digest = "x" }), Want: "n2 and n1 have different layouts"},
		{Name: "one node twice", Tell: nothing, Edit: with(func(v *history.LayoutView) { v.Owners[1] = []string{"n1", "n2", "n1"} }),
			Want: "partition 1, owners [n1 n2 n1]: n1 twice"},
		{Name: "too few", Tell: nothing, Edit: with(func(v *history.LayoutView) { v.Owners[0] = []string{"n1", "n2"} }), Want: "2 instead of 3"},
		{Name: "too many", Tell: nothing, Edit: with(func(v *history.LayoutView) { v.Owners[0] = v.Nodes }), Want: "4 instead of 3"},
		{Name: "a stranger", Tell: nothing, Edit: with(func(v *history.LayoutView) { v.Owners[0] = []string{"n1", "n2", "n9"} }),
			Want: "n9 is no node"},
		{Name: "no partitions", Tell: nothing, Edit: with(func(v *history.LayoutView) { v.Owners = nil }), Want: "n2 knows no partition"},
		{Name: "all wrong alike", Tell: nothing, Want: "n1 twice", Edit: func(run *history.Run) {
			v := view("n1")
			v.Owners[0] = []string{"n1", "n1", "n2"}
			run.Layouts = []history.LayoutView{v, v}
		}},
	})
}
