package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

func (a *app) putCommand() *cobra.Command {
	f := callFlags{app: a}
	cmd := &cobra.Command{
		Use:   "put KEY VALUE",
		Short: "Store a value (- reads stdin)",
		Long: `Store a value under a key. A VALUE of - is all of stdin, byte for byte; so is a KEY of -.

Without --context the value becomes a sibling of whatever is there that it has not seen. With the
context that a get printed it replaces just what that get has shown.

With --ttl the value expires: reads find nothing from then on. It is counted from when a node dates the write.`,
		Example: `  starling put greeting hello
  starling put cart:42 '{"apples": 2}' -w all --explain
  starling put photo - < photo.jpg
  starling put session:7f3a '{"user": 42}' --ttl 10m
  starling put -b readings sensor-7 21.5 --sort 2026-01-31T12:00:00Z`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := f.options()
			if err != nil {
				return err
			}
			key, err := f.key(args[0])
			if err != nil {
				return err
			}
			value, err := a.argument(args[1], "VALUE")
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				written, err := c.Put(cmd.Context(), f.bucket, key, value, opts...)
				if err != nil {
					return err
				}
				return a.showWritten(&f, key, "stored", written)
			})
		},
	}
	f.item(cmd)
	f.write(cmd)
	f.expiring(cmd)
	f.seen(cmd)
	f.trace(cmd)
	return cmd
}

func (a *app) deleteCommand() *cobra.Command {
	f := callFlags{app: a}
	cmd := &cobra.Command{
		Use:   "delete KEY",
		Short: "Delete an item",
		Long: `Delete an item. Without --context this deletes what a quorum read returns now; with one, just
what the read that printed it has shown. Deleting what is not there is no error.`,
		Example: `  starling delete greeting
  starling delete -b readings sensor-7 --sort 2026-01-31T12:00:00Z -w all`,
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
				written, err := c.Delete(cmd.Context(), f.bucket, key, opts...)
				if err != nil {
					return err
				}
				return a.showWritten(&f, key, "deleted", written)
			})
		},
	}
	f.item(cmd)
	f.write(cmd)
	f.seen(cmd)
	f.trace(cmd)
	return cmd
}

// jsonWritten is what a write did.
type jsonWritten struct {
	Bucket       string       `json:"bucket"`
	Time         string       `json:"time"`
	Actor        string       `json:"actor"`
	HLC          string       `json:"hlc"`
	RequestID    string       `json:"request_id"`
	Context      string       `json:"context"`
	Acknowledged int          `json:"acknowledged"`
	Fallbacks    int          `json:"fallbacks"`
	Versions     int          `json:"versions"`
	Repeated     bool         `json:"repeated"`
	Expires      string       `json:"expires,omitempty"`
	Explain      *jsonExplain `json:"explain,omitempty"`
}

func (a *app) showWritten(f *callFlags, key client.Key, verb string, w *client.Written) error {
	a.answer = w
	if w.Versions > 1 {
		a.note("The item has %d versions now (siblings): %s shows them, and how to resolve them.",
			w.Versions, f.command("get", key, ""))
	}
	switch a.output {
	case outputRaw:
		return nil
	case outputJSON:
		return a.writeJSON(jsonWritten{
			Bucket: f.bucket, Time: rfc3339(w.Dot.HLC.Time()),
			Actor: hex(uint64(w.Dot.Actor)), HLC: hex(uint64(w.Dot.HLC)), RequestID: w.RequestID.String(),
			Context: w.Context.String(), Acknowledged: w.Acknowledged, Fallbacks: w.Fallbacks,
			Versions: w.Versions, Repeated: w.Repeated, Expires: expiryText(w.Expires), Explain: newJSONExplain(w.Explain),
		})
	}
	fmt.Fprintf(a.stdout, "%s on %s", verb, counted(w.Acknowledged, "replica", "replicas"))
	if w.Fallbacks > 0 {
		fmt.Fprintf(a.stdout, ", %d of them standing in for owners that can't be reached", w.Fallbacks)
	}
	if !w.Expires.IsZero() {
		fmt.Fprintf(a.stdout, "; expires at %s", rfc3339(w.Expires))
	}
	fmt.Fprintln(a.stdout)
	a.showExplain(w.Explain)
	return nil
}
