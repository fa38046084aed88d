package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

// defaultBucket always exists.
const defaultBucket = "default"

// callFlags are the flags of one request.
type callFlags struct {
	app            *app
	bucket         string
	sort           string
	context        string
	r, w           string
	consistency    string
	sloppy, strict bool
	durability     string
	ttl            lifetime
	explain        bool
}

// item adds the flags that complete the address of an item.
func (f *callFlags) item(cmd *cobra.Command) {
	f.inBucket(cmd)
	cmd.Flags().StringVar(&f.sort, "sort", "", "sort key, ordering the items of one partition key")
}

func (f *callFlags) inBucket(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.bucket, "bucket", "b", defaultBucket, "bucket")
}

// read adds the flags of a read.
func (f *callFlags) read(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.r, "read", "r", "", "replicas that must answer: one, two, three, quorum, all or a number")
	f.either(cmd)
}

// write adds the flags of a write.
func (f *callFlags) write(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.w, "write", "w", "", "replicas that must acknowledge: one, two, three, quorum, all or a number")
	cmd.Flags().StringVar(&f.durability, "durability", "", "when a replica acknowledges: sync (after an fsync) or memory")
	f.either(cmd)
}

func (f *callFlags) either(cmd *cobra.Command) {
	if cmd.Flags().Lookup("consistency") != nil {
		return
	}
	flags := cmd.Flags()
	flags.StringVar(&f.consistency, "consistency", "", "both -r and -w")
	flags.BoolVar(&f.sloppy, "sloppy", false, "let fallbacks stand in for owners that can't be reached (the default)")
	flags.BoolVar(&f.strict, "strict", false, "count owners only")
}

// expiring adds --ttl.
func (f *callFlags) expiring(cmd *cobra.Command) {
	cmd.Flags().Var(&f.ttl, "ttl", "how long the value can be read, such as 90s or 24h, or none: for ever (default: what the bucket says)")
}

// seen adds --context.
func (f *callFlags) seen(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.context, "context", "", "context of an earlier reply: replace just what that has seen")
}

// trace adds --explain.
func (f *callFlags) trace(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.explain, "explain", false, "tell which replicas were asked and what they did")
}

// options are the call options that the flags stand for.
func (f *callFlags) options() ([]client.CallOption, error) {
	opts, err := f.levels()
	if err != nil {
		return nil, err
	}
	switch {
	case f.strict && f.sloppy:
		return nil, misused("--sloppy and --strict exclude each other")
	case f.strict:
		opts = append(opts, client.Strict())
	case f.sloppy:
		opts = append(opts, client.Sloppy())
	}
	if f.durability != "" {
		d, err := client.ParseDurability(f.durability)
		if err != nil {
			return nil, misused("--durability: %w", err)
		}
		opts = append(opts, client.WithDurability(d))
	}
	switch {
	case f.ttl.none:
		opts = append(opts, client.NoTTL())
	case f.ttl.set():
		opts = append(opts, client.TTL(f.ttl.time))
	}
	if f.context != "" {
		c, err := client.ParseContext(f.context)
		if err != nil {
			return nil, misused("--context: %w", err)
		}
		opts = append(opts, client.WithContext(c))
	}
	if f.explain {
		opts = append(opts, client.WithExplain())
	}
	if f.app.timeout > 0 {
		opts = append(opts, client.Timeout(f.app.timeout))
	}
	return opts, nil
}

// levels are -r, -w and --consistency; the more exact ones go first.
func (f *callFlags) levels() ([]client.CallOption, error) {
	var opts []client.CallOption
	for _, flag := range []struct {
		name, value string
		option      func(client.Level) client.CallOption
	}{
		{"--consistency", f.consistency, client.Consistency},
		{"-r", f.r, client.R},
		{"-w", f.w, client.W},
	} {
		if flag.value == "" {
			continue
		}
		level, err := client.ParseLevel(flag.value)
		if err != nil {
			return nil, misused("%s: %w", flag.name, err)
		}
		opts = append(opts, flag.option(level))
	}
	return opts, nil
}

// key is the item that a KEY argument and --sort name.
func (f *callFlags) key(arg string) (client.Key, error) {
	partition, err := f.app.argument(arg, "KEY")
	if err != nil {
		return client.Key{}, err
	}
	return client.Key{Partition: partition, Sort: []byte(f.sort)}, nil
}

// ofNodes lets a command show what all nodes tell, or with --local what the answering one does.
func ofNodes[T any](
	a *app, cmd *cobra.Command, ask func(*client.Client, context.Context, ...client.CallOption) (T, error), show func(T) error,
) *cobra.Command {
	local := cmd.Flags().Bool("local", false, "only those of the answering node")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withClient(cmd.Context(), func(c *client.Client) error {
			opts := a.callOptions()
			if *local {
				opts = append(opts, client.LocalOnly())
			}
			told, err := ask(c, cmd.Context(), opts...)
			if err != nil {
				return err
			}
			return show(told)
		})
	}
	return cmd
}
