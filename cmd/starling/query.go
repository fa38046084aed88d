package main

import (
	"iter"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

func (a *app) queryCommand() *cobra.Command {
	f := callFlags{app: a}
	var from, to string
	var limit int
	var reverse bool
	cmd := &cobra.Command{
		Use:   "query BUCKET PARTITION",
		Short: "Read the items of one partition key, in the order of their sort keys",
		Long: `Read the items of one partition key, in the bytewise order of their sort keys, each version of an item on a
line of its own. -o raw prints values alone. It is no snapshot: items that are written meanwhile may appear or not.`,
		Example: `  starling query unicode 'Greek and Coptic' --from U+0391 --to U+03A9
  starling query readings sensor-7 --reverse --limit 1`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return misused("--limit %d is negative", limit)
			}
			opts, err := f.options()
			if err != nil {
				return err
			}
			r := client.Range{Limit: limit, Reverse: reverse}
			if cmd.Flags().Changed("from") {
				r.From = []byte(from)
			}
			if cmd.Flags().Changed("to") {
				r.To = []byte(to)
			}
			partition, err := a.argument(args[1], "PARTITION")
			if err != nil {
				return err
			}
			f.bucket = args[0]
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				l := listing{app: a, bucket: f.bucket, values: true}
				return l.show(c.Query(cmd.Context(), f.bucket, partition, r, opts...))
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "first sort key, inclusive")
	flags.StringVar(&to, "to", "", "last sort key, inclusive")
	flags.IntVar(&limit, "limit", 0, "most items (0: all)")
	flags.BoolVar(&reverse, "reverse", false, "from the highest sort key down")
	f.read(cmd)
	f.trace(cmd)
	return cmd
}

func (a *app) scanCommand() *cobra.Command {
	f := callFlags{app: a}
	var limit int
	var keysOnly bool
	cmd := &cobra.Command{
		Use:   "scan BUCKET",
		Short: "Read a whole bucket",
		Long: `Read a whole bucket, in an order that is the same every time and means nothing otherwise. It is no
snapshot: items that are there throughout appear, others may.`,
		Example: `  starling scan unicode --limit 10
  starling scan unicode --keys-only -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return misused("--limit %d is negative", limit)
			}
			if keysOnly && a.output == outputRaw {
				return misused("-o raw prints values, and --keys-only leaves them out")
			}
			opts, err := f.options()
			if err != nil {
				return err
			}
			f.bucket = args[0]
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				l := listing{app: a, bucket: f.bucket, partition: true, values: !keysOnly}
				return l.show(c.Scan(cmd.Context(), f.bucket, client.ScanOptions{Limit: limit, KeysOnly: keysOnly}, opts...))
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "most items (0: all)")
	cmd.Flags().BoolVar(&keysOnly, "keys-only", false, "leave out the values")
	f.read(cmd)
	return cmd
}

// listing prints the pages of a query or a scan as they come.
type listing struct {
	app    *app
	bucket string
	// partition: show partition keys. values: show values.
	partition, values bool
	siblings          int
	table             *table
}

func (l *listing) show(pages iter.Seq2[client.Page, error]) error {
	header := []string{"SORT"}
	if l.partition {
		header = []string{"PARTITION", "SORT"}
	}
	if l.values {
		header = append(header, "VALUE")
	}
	l.table = newTable(header...)
	for page, err := range pages {
		if err != nil {
			return err
		}
		if err := l.page(page); err != nil {
			return err
		}
	}
	if l.siblings > 0 && l.app.output != outputJSON {
		l.app.note("%s siblings, each on a line of its own; starling get shows how to resolve them.",
			counted(l.siblings, "item has", "items have"))
	}
	return nil
}

func (l *listing) page(page client.Page) error {
	for i := range page.Items {
		if page.Items[i].Siblings() {
			l.siblings++
		}
		if err := l.item(&page.Items[i]); err != nil {
			return err
		}
	}
	if l.app.output == "" || l.app.output == outputTable {
		l.table.write(l.app.stdout, nil)
		l.app.showExplain(page.Explain)
	}
	// What has come is shown before the next page is waited for.
	return l.app.stdout.Flush()
}

func (l *listing) item(item *client.Item) error {
	switch l.app.output {
	case outputJSON:
		return l.app.writeJSON(newJSONItem(l.bucket, item.Key, item.Versions, item.Context, l.values))
	case outputRaw:
		for _, v := range item.Versions {
			if v.Tombstone {
				continue
			}
			if err := l.app.writeRaw(v.Value); err != nil {
				return err
			}
		}
		return nil
	}
	for i, v := range item.Versions {
		cells := []string{printable(item.Key.Sort)}
		if l.partition {
			cells = []string{printable(item.Key.Partition), printable(item.Key.Sort)}
		}
		if l.values {
			cells = append(cells, valueCell(v))
		} else if i > 0 {
			break
		}
		l.table.add(cells...)
	}
	return nil
}
