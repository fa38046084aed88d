package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

func (a *app) getCommand() *cobra.Command {
	f := callFlags{app: a}
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Read an item, with all its siblings",
		Long: `Read an item. One version is printed alone, quoted if a terminal would choke on it; -o raw prints
its bytes and a newline. Several versions (siblings, left by writers that had not seen each other) are all
printed, and stderr shows the command that replaces them by one. When a value expires stderr says, too.

Exit code 5: the item was never written, is deleted, or has expired.`,
		Example: `  starling get greeting
  starling get cart:42 -r all --explain
  starling get photo -o raw | head -c -1 > photo.jpg`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := f.options()
			if err != nil {
				return err
			}
			key, err := f.key(args[0])
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				result, err := c.Get(cmd.Context(), f.bucket, key, opts...)
				if err != nil {
					return err
				}
				return a.showResult(&f, key, result)
			})
		},
	}
	f.item(cmd)
	f.read(cmd)
	f.trace(cmd)
	return cmd
}

func (a *app) showResult(f *callFlags, key client.Key, r *client.Result) error {
	a.answer = r
	if err := a.showVersions(f, key, r); err != nil {
		return err
	}
	if r.Siblings() {
		a.note("%d siblings: writers that had not seen each other. To replace them by one value:\n  %s",
			len(r.Versions), f.resolution(key, r.Context))
	}
	if !r.Found() {
		if a.output == outputJSON {
			return &silentError{code: exitNotFound}
		}
		return fmt.Errorf("get %s in bucket %s: %w", key, f.bucket, client.ErrNotFound)
	}
	return nil
}

func (a *app) showVersions(f *callFlags, key client.Key, r *client.Result) error {
	switch {
	case a.output == outputJSON:
		item := newJSONItem(f.bucket, key, r.Versions, r.Context, true)
		found := r.Found()
		item.Found, item.Answered, item.Fallbacks = &found, &r.Answered, &r.Fallbacks
		item.Explain = newJSONExplain(r.Explain)
		return a.writeJSON(item)
	case a.output == outputRaw:
		for _, v := range r.Versions {
			if v.Tombstone {
				continue
			}
			if err := a.writeRaw(v.Value); err != nil {
				return err
			}
		}
		return nil
	case r.Siblings():
		a.showSiblings(r.Versions)
	case r.Found():
		fmt.Fprintln(a.stdout, printable(r.Versions[0].Value))
		if at := r.Versions[0].Expires; !at.IsZero() {
			a.note("It expires at %s.", rfc3339(at))
		}
	}
	a.showExplain(r.Explain)
	return nil
}

// showSiblings prints siblings as a table, which says when they expire if one of them does.
func (a *app) showSiblings(siblings []client.Version) {
	header := []string{"#", "WRITTEN", "EXPIRES", "VALUE"}
	withExpiry := expires(siblings)
	if !withExpiry {
		header = slices.Delete(header, 2, 3)
	}
	t := newTable(header...)
	for i, v := range siblings {
		cells := []string{strconv.Itoa(i + 1), rfc3339(v.Time()), valueCell(v)}
		if withExpiry {
			cells = slices.Insert(cells, 2, cmp.Or(expiryText(v.Expires), "never"))
		}
		t.add(cells...)
	}
	t.write(a.stdout, nil)
}

func valueCell(v client.Version) string {
	if v.Tombstone {
		return "(deleted)"
	}
	return printable(v.Value)
}
