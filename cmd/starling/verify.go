package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

// comparePatience bounds one pair of nodes when no --timeout does: a node that lost much takes its time.
const comparePatience = time.Hour

// settleTime is how long verify waits before it looks a second time: what was being written at the first look is on all
// replicas by then.
const settleTime = 2 * time.Second

// comparing is what repair and verify have in common.
type comparing struct {
	partitions []int
	node       string
}

func (c *comparing) register(cmd *cobra.Command) {
	cmd.Flags().IntSliceVar(&c.partitions, "partition", nil, "only these partitions")
	cmd.Flags().StringVar(&c.node, "node", "", "only what this node owns with others")
}

func (a *app) verifyCommand() *cobra.Command {
	var f comparing
	cmd := &cobra.Command{
		Use:   "verify [BUCKET]",
		Short: "Compare all replicas, and say what differs",
		Long: `Have each two nodes that own the same partitions compare what they hold, and change nothing. What differs is looked at
again after two seconds, so that a write under way is not taken for a difference. It ends with 9 if replicas
differ, and with 1 if some nodes could not be compared.`,
		Example: `  starling verify
  starling verify carts
  starling verify -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				scope, err := a.lookScope(cmd.Context(), c, &f, args)
				if err != nil {
					return err
				}
				pairs, err := a.comparePairs(cmd.Context(), c, &f, scope)
				if err != nil {
					return err
				}
				return a.showVerify(cmd.Context(), c, scope, pairs)
			})
		},
	}
	f.register(cmd)
	return cmd
}

// pair is two nodes, and what came of comparing them.
type pair struct {
	by, with client.NodeStatus
	done     *client.Comparison
	err      error
}

// lookScope is what verify has each pair look at.
func (a *app) lookScope(ctx context.Context, c *client.Client, f *comparing, args []string) (client.CompareScope, error) {
	scope := client.CompareScope{Partitions: f.partitions, Look: true}
	if len(args) == 0 {
		return scope, nil
	}
	buckets, err := c.ListBuckets(ctx, a.callOptions()...)
	if err != nil {
		return scope, err
	}
	for _, b := range buckets {
		if b.Name == args[0] {
			scope.Bucket = b.ID
			return scope, nil
		}
	}
	return scope, fmt.Errorf("no bucket %q: %w", args[0], client.ErrUnknownBucket)
}

// members are the members by id, after a look at whether what the flags name is there.
func (f *comparing) members(ctx context.Context, c *client.Client, a *app) ([]client.NodeStatus, error) {
	status, err := c.Status(ctx, append(a.callOptions(), client.LocalOnly())...)
	if err != nil {
		return nil, err
	}
	members := slices.DeleteFunc(status.Nodes, func(n client.NodeStatus) bool { return !n.Member })
	slices.SortFunc(members, func(a, b client.NodeStatus) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	if f.node != "" && !slices.ContainsFunc(members, func(n client.NodeStatus) bool { return n.Name == f.node }) {
		return nil, misused("no member is called %q", f.node)
	}
	for _, p := range f.partitions {
		if p < 0 || p >= status.Partitions {
			return nil, misused("there is no partition %d: they are 0 to %d", p, status.Partitions-1)
		}
	}
	return members, nil
}

// comparePairs compares each two members, one pair after the other.
func (a *app) comparePairs(ctx context.Context, c *client.Client, f *comparing, scope client.CompareScope) ([]*pair, error) {
	members, err := f.members(ctx, c, a)
	if err != nil {
		return nil, err
	}
	var pairs []*pair
	for i, by := range members {
		for _, with := range members[i+1:] {
			if f.node == "" || by.Name == f.node || with.Name == f.node {
				pairs = append(pairs, &pair{by: by, with: with})
			}
		}
	}
	bar := a.newProgress("comparing", int64(len(pairs)), false)
	defer bar.finish()
	items := 0
	for i, p := range pairs {
		if err := a.compare(ctx, c, p, scope); err != nil {
			return nil, err
		}
		if p.done != nil {
			items += int(p.done.Items)
		}
		bar.set(int64(i+1), items)
	}
	return pairs, nil
}

// compare compares one pair. Its error is that of ctx; any other is the pair's.
func (a *app) compare(ctx context.Context, c *client.Client, p *pair, scope client.CompareScope) error {
	opts := append([]client.CallOption{client.Timeout(comparePatience)}, a.callOptions()...)
	p.done, p.err = c.Compare(ctx, p.by.ID, p.with.ID, scope, opts...)
	return ctx.Err()
}

// jsonComparison is a pair in JSON.
type jsonComparison struct {
	Node               string    `json:"node"`
	With               string    `json:"with"`
	Error              string    `json:"error,omitempty"`
	Partitions         uint64    `json:"partitions"`
	PartitionsDiffered uint64    `json:"partitions_differed"`
	Items              uint64    `json:"items_compared"`
	Mended             uint64    `json:"copies_mended"`
	Refused            uint64    `json:"copies_refused"`
	Bytes              uint64    `json:"bytes"`
	Unlike             uint64    `json:"items_unlike"`
	Keys               []jsonKey `json:"unlike,omitempty"`
}

type jsonKey struct {
	Bucket    string `json:"bucket"`
	Partition []byte `json:"partition_key"`
	Sort      []byte `json:"sort_key,omitempty"`
}

func (p *pair) json() jsonComparison {
	out := jsonComparison{Node: p.by.Name, With: p.with.Name}
	if p.err != nil {
		out.Error = p.err.Error()
		return out
	}
	d := p.done
	out.Partitions, out.PartitionsDiffered, out.Items = d.Partitions, d.PartitionsDiffered, d.Items
	out.Mended, out.Refused, out.Bytes, out.Unlike = d.Fetched+d.Pushed, d.Refused, d.Bytes, d.Unlike
	for _, k := range d.Keys {
		out.Keys = append(out.Keys, jsonKey{k.Bucket, k.Key.Partition, k.Key.Sort})
	}
	return out
}

// notCompared names the pairs that failed, and is an error if there are any.
func (a *app) notCompared(pairs []*pair) error {
	failed := false
	for _, p := range pairs {
		if p.err != nil {
			failed = true
			a.note("Not compared: %s with %s: %v", p.by.Name, p.with.Name, p.err)
		}
	}
	if failed {
		return &silentError{code: exitFailed}
	}
	return nil
}

// showVerify looks a second time at what differed, and says what still does.
func (a *app) showVerify(ctx context.Context, c *client.Client, scope client.CompareScope, pairs []*pair) error {
	var unlike []*pair
	for _, p := range pairs {
		if p.err == nil && p.done.Unlike > 0 {
			unlike = append(unlike, p)
		}
	}
	if len(unlike) > 0 {
		select {
		case <-time.After(settleTime):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	found := false
	for _, p := range unlike {
		if err := a.compare(ctx, c, p, scope); err != nil {
			return err
		}
		found = found || p.err == nil && p.done.Unlike > 0
	}
	if a.output == outputJSON {
		out := make([]jsonComparison, len(pairs))
		for i, p := range pairs {
			out[i] = p.json()
		}
		if err := a.writeJSON(out); err != nil {
			return err
		}
	} else {
		a.writeUnlike(pairs)
	}
	if err := a.notCompared(pairs); err != nil && !found {
		return err
	}
	if found {
		return &silentError{code: exitProblem}
	}
	return nil
}

func (a *app) writeUnlike(pairs []*pair) {
	compared, partitions := 0, uint64(0)
	t := newTable("NODE", "WITH", "BUCKET", "PARTITION KEY", "SORT KEY")
	rows, more := 0, uint64(0)
	for _, p := range pairs {
		if p.err != nil {
			continue
		}
		compared++
		partitions += p.done.Partitions
		for _, k := range p.done.Keys {
			t.add(p.by.Name, p.with.Name, k.Bucket, printable(k.Key.Partition), printable(k.Key.Sort))
			rows++
		}
		more += p.done.Unlike - uint64(len(p.done.Keys))
	}
	if rows > 0 {
		t.write(a.stdout, nil)
		if more > 0 {
			fmt.Fprintf(a.stdout, "and %d more\n", more)
		}
		return
	}
	fmt.Fprintf(a.stdout, "%d pairs of nodes hold the same in the %d partitions that they share\n", compared, partitions)
}
