package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

func (a *app) repairCommand() *cobra.Command {
	var (
		f      comparing
		detach bool
	)
	cmd := &cobra.Command{
		Use:   "repair [BUCKET]",
		Short: "Compare all replicas now, and mend what differs",
		Long: `Have each two nodes that own the same partitions compare what they hold, and send each other what is missing or older
on one side. Nodes do so by themselves, too (server --repair-interval); this does it now and says what came of it.
The node that is asked carries it out as a task (starling task), which goes on when this command is interrupted.
It ends with 1 if some nodes could not be compared, or the task was cancelled.`,
		Example: `  starling repair
  starling repair carts --node n3
  starling repair --partition 17
  starling repair --detach`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				t, err := a.startRepair(cmd.Context(), c, &f, args)
				if err != nil {
					return err
				}
				if detach {
					return a.showStarted(t)
				}
				return a.awaitRepair(cmd.Context(), c, t)
			})
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&detach, "detach", false, "don't wait: print the task's id")
	return cmd
}

func (a *app) startRepair(ctx context.Context, c *client.Client, f *comparing, args []string) (*client.Task, error) {
	members, err := f.members(ctx, c, a)
	if err != nil {
		return nil, err
	}
	scope := client.RepairScope{Partitions: f.partitions}
	if len(args) > 0 {
		if scope.Bucket = args[0]; scope.Bucket == "" {
			return nil, misused("the name of the bucket is empty")
		}
	}
	if i := slices.IndexFunc(members, func(n client.NodeStatus) bool { return n.Name == f.node }); i >= 0 {
		scope.Node = members[i].ID
	}
	return c.StartRepair(ctx, scope, a.callOptions()...)
}

// showStarted says what a task is called that goes on by itself.
func (a *app) showStarted(t *client.Task) error {
	if a.output == outputJSON {
		return a.writeJSON(newJSONTask(t))
	}
	fmt.Fprintln(a.stdout, t.ID)
	a.note("The task goes on: starling task wait %s", t.ID)
	return nil
}

// awaitRepair shows how a repair comes along, and what came of it.
func (a *app) awaitRepair(ctx context.Context, c *client.Client, t *client.Task) error {
	done, err := a.awaitTask(ctx, c, t.ID, func(t *client.Task) (int64, int64, string) {
		ranges := t.Counter("ranges")
		return ranges.Done, ranges.Total, fmt.Sprintf("%d of %d ranges, %d items compared, %d mended, %s", ranges.Done, ranges.Total,
			t.Counter("items").Done, t.Counter("mended").Done, bytesText(uint64(t.Counter("bytes").Done)))
	})
	if err != nil {
		return err
	}
	return a.showRepair(done)
}

// awaitTask waits for the end of a task behind a bar. Whoever interrupts that is told how to get at the task again.
func (a *app) awaitTask(ctx context.Context, c *client.Client, id string, tell func(*client.Task) (done, total int64, text string)) (*client.Task, error) {
	bar := a.newProgress("waiting for "+id, -1, false)
	defer bar.finish()
	t, err := c.WaitTask(ctx, id, func(t *client.Task) { bar.tell(tell(t)) }, a.callOptions()...)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		bar.finish()
		a.note("The task goes on. Wait for it: starling task wait %s. End it: starling task cancel %s.", id, id)
		return nil, &silentError{code: exitFailed}
	}
	if err != nil && !errors.Is(err, client.ErrUnknownTask) {
		bar.finish()
		a.note("Nothing was heard of the task, which may go on: starling task show %s.", id)
	}
	return t, err
}

// showRepair says what was mended, and names the pairs that were not compared.
func (a *app) showRepair(done *client.Task) error {
	t := newTable("NODE", "WITH", "PARTITIONS", "DIFFERED", "MENDED", "REFUSED", "BYTES").numeric(2, 3, 4, 5, 6)
	parts := slices.Clone(done.Parts)
	slices.SortStableFunc(parts, func(a, b client.TaskPart) int { return slices.Compare(a.Nodes, b.Nodes) })
	out := make([]jsonComparison, 0, len(parts))
	for i := range parts {
		j := repairedJSON(&parts[i])
		if out = append(out, j); j.Error == "" {
			t.add(j.Node, j.With, strconv.FormatUint(j.Partitions, 10), strconv.FormatUint(j.PartitionsDiffered, 10),
				strconv.FormatUint(j.Mended, 10), strconv.FormatUint(j.Refused, 10), bytesText(j.Bytes))
		}
	}
	if a.output == outputJSON {
		if err := a.writeJSON(out); err != nil {
			return err
		}
	} else {
		t.write(a.stdout, nil)
	}
	return a.taskVerdict(done)
}

// repairedJSON is what came of a pair of nodes.
func repairedJSON(p *client.TaskPart) jsonComparison {
	count := func(name string) uint64 { return uint64(p.Counter(name).Done) }
	out := jsonComparison{
		Error: p.Error, Partitions: count("ranges"), PartitionsDiffered: count("differed"), Items: count("items"),
		Mended: count("mended"), Refused: count("refused"), Bytes: count("bytes"),
	}
	for i, to := range []*string{&out.Node, &out.With} {
		if i < len(p.Nodes) {
			*to = p.Nodes[i]
		}
	}
	return out
}

// taskVerdict names what a task could not do, and is an error if it did not do all.
func (a *app) taskVerdict(t *client.Task) error {
	for _, p := range t.Parts {
		if p.Error != "" {
			a.note("Not compared: %s: %s", strings.Join(p.Nodes, " with "), p.Error)
		}
	}
	switch t.State {
	case client.TaskDone:
		return nil
	case client.TaskCancelled:
		a.note("The task %s was cancelled.", t.ID)
	default:
		a.note("The task %s failed: %s", t.ID, t.Error)
	}
	return &silentError{code: exitFailed}
}
