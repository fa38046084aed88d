package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

func (a *app) bucketCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bucket",
		Short: "Create, alter, list and drop buckets",
		Long: `Create, alter, list and drop buckets. A bucket says how many replicas its items have, what becomes of concurrent
writes, and how many replicas a request waits for that doesn't say so itself. The bucket default is always there.`,
		Example: `  starling bucket create readings -n 3 --conflict lww
  starling bucket list`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return misused("bucket: say create, alter, list or drop")
		},
	}
	cmd.AddCommand(a.bucketCreateCommand(), a.bucketAlterCommand(), a.bucketListCommand(), a.bucketDropCommand())
	return cmd
}

// bucketFlags are the settings of a bucket.
type bucketFlags struct {
	n                          int
	r, w, durability, conflict string
	ttl                        lifetime
}

// change adds the flags of what may change later, too.
func (f *bucketFlags) change(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.r, "read", "r", "", "replicas that a read waits for unless it says otherwise (default quorum)")
	flags.StringVarP(&f.w, "write", "w", "", "replicas that a write waits for unless it says otherwise (default quorum)")
	flags.StringVar(&f.durability, "durability", "", "when a replica acknowledges: sync or memory (default sync)")
	flags.Var(&f.ttl, "ttl", "how long a value can be read whose put doesn't say, such as 90s or 24h, or none (default none)")
}

func (f *bucketFlags) parse() (change client.BucketChange, conflict client.Conflict, err error) {
	if f.r != "" {
		if change.R, err = client.ParseLevel(f.r); err != nil {
			return change, conflict, misused("-r: %w", err)
		}
	}
	if f.w != "" {
		if change.W, err = client.ParseLevel(f.w); err != nil {
			return change, conflict, misused("-w: %w", err)
		}
	}
	if f.durability != "" {
		if change.Durability, err = client.ParseDurability(f.durability); err != nil {
			return change, conflict, misused("--durability: %w", err)
		}
	}
	change.TTL, change.NoTTL = f.ttl.time, f.ttl.none
	if f.conflict != "" {
		if conflict, err = client.ParseConflict(f.conflict); err != nil {
			return change, conflict, misused("--conflict: %w", err)
		}
	}
	return change, conflict, nil
}

func (a *app) bucketCreateCommand() *cobra.Command {
	var f bucketFlags
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a bucket",
		Long: `Create a bucket. Creating one that is there with the same settings is no error. The number of
replicas and the conflict policy can't be changed later.`,
		Example: `  starling bucket create carts
  starling bucket create readings -n 5 -r two -w two --durability memory --conflict lww
  starling bucket create sessions --conflict lww --ttl 24h`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, conflict, err := f.parse()
			if err != nil {
				return err
			}
			if f.n < 0 {
				return misused("-n %d is negative", f.n)
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				made, created, err := c.CreateBucket(cmd.Context(), client.Bucket{
					Name: args[0], N: f.n, R: change.R, W: change.W, Durability: change.Durability, Conflict: conflict,
					TTL: change.TTL,
				}, a.callOptions()...)
				if err != nil {
					return err
				}
				if !created {
					a.note("The bucket was there already, with these settings.")
				}
				return a.showBuckets([]client.Bucket{made}, true)
			})
		},
	}
	cmd.Flags().IntVarP(&f.n, "replicas", "n", 0, "replicas of each item (default 3, or the number of nodes if that is less)")
	cmd.Flags().StringVar(&f.conflict, "conflict", "", "what becomes of concurrent writes: siblings or lww (default siblings)")
	f.change(cmd)
	return cmd
}

func (a *app) bucketAlterCommand() *cobra.Command {
	var f bucketFlags
	cmd := &cobra.Command{
		Use:   "alter NAME",
		Short: "Change the defaults of a bucket",
		Long: `Change the defaults of a bucket: what requests get that say nothing themselves. The number of replicas and the
conflict policy stay what they are, and so does what was written before: a time to live holds for values that are
written from then on.`,
		Example: `  starling bucket alter readings -r one -w quorum
  starling bucket alter readings --durability sync
  starling bucket alter sessions --ttl none`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, _, err := f.parse()
			if err != nil {
				return err
			}
			if change == (client.BucketChange{}) {
				return misused("bucket alter: nothing to change; give -r, -w, --durability or --ttl")
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				b, err := c.AlterBucket(cmd.Context(), args[0], change, a.callOptions()...)
				if err != nil {
					return err
				}
				return a.showBuckets([]client.Bucket{b}, true)
			})
		},
	}
	f.change(cmd)
	return cmd
}

func (a *app) bucketListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all buckets",
		Long:  "List all buckets with their settings. -o raw prints their names alone.",
		Example: `  starling bucket list
  starling bucket list -o raw`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				buckets, err := c.ListBuckets(cmd.Context(), a.callOptions()...)
				if err != nil {
					return err
				}
				return a.showBuckets(buckets, false)
			})
		},
	}
}

func (a *app) bucketDropCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "drop NAME",
		Short: "Remove a bucket and all that is in it",
		Long: `Remove a bucket and all that is in it, for good and without a question. Nodes that are away drop their part when
they are back.`,
		Example: `  starling bucket drop readings`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				if err := c.DropBucket(cmd.Context(), args[0], a.callOptions()...); err != nil {
					return err
				}
				if a.output == outputJSON {
					return a.writeJSON(map[string]string{"dropped": args[0]})
				}
				a.note("Dropped bucket %s.", args[0])
				return nil
			})
		},
	}
}

// jsonBucket is a bucket in JSON.
type jsonBucket struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	N          int    `json:"n"`
	R          string `json:"r"`
	W          string `json:"w"`
	Conflict   string `json:"conflict"`
	Durability string `json:"durability"`
	TTLMS      int64  `json:"ttl_ms"` // 0: none
	Created    string `json:"created"`
	Altered    string `json:"altered"`
}

func newJSONBucket(b client.Bucket) jsonBucket {
	return jsonBucket{
		Name: b.Name, ID: hex(b.ID), N: b.N, R: b.R.String(), W: b.W.String(), Conflict: b.Conflict.String(),
		Durability: b.Durability.String(), TTLMS: b.TTL.Milliseconds(), Created: rfc3339(b.Created), Altered: rfc3339(b.Altered),
	}
}

// showBuckets prints buckets; as JSON one alone is an object, a list is {"buckets": [...]}.
func (a *app) showBuckets(buckets []client.Bucket, alone bool) error {
	switch a.output {
	case outputJSON:
		rows := make([]jsonBucket, len(buckets))
		for i, b := range buckets {
			rows[i] = newJSONBucket(b)
		}
		if alone {
			return a.writeJSON(rows[0])
		}
		return a.writeJSON(map[string][]jsonBucket{"buckets": rows})
	case outputRaw:
		for _, b := range buckets {
			fmt.Fprintln(a.stdout, b.Name)
		}
		return nil
	}
	t := newTable("NAME", "N", "R", "W", "CONFLICT", "DURABILITY", "TTL", "CREATED").numeric(1)
	for _, b := range buckets {
		t.add(printable([]byte(b.Name)), strconv.Itoa(b.N), b.R.String(), b.W.String(), b.Conflict.String(),
			b.Durability.String(), lifetimeText(b.TTL), rfc3339(b.Created))
	}
	t.write(a.stdout, nil)
	return nil
}
