package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

// exportStateSuffix is appended to the name of the output for the file that keeps how far it came.
const exportStateSuffix = ".starling-export"

// What export does with items that have siblings.
const (
	siblingsError  = "error"
	siblingsLatest = "latest"
	siblingsAll    = "all"
)

// exportFlags are the flags of an export.
type exportFlags struct {
	call     callFlags
	output   string
	state    string
	resume   bool
	force    bool
	siblings string
}

func (a *app) exportCommand() *cobra.Command {
	f := exportFlags{call: callFlags{app: a}}
	cmd := &cobra.Command{
		Use:   "export BUCKET",
		Short: "Write all values of a bucket, one a line",
		Long: `Write all values of a bucket, byte for byte, one a line, in the order of a scan. What import stored
comes back as it was, in another order. A value that holds a newline can't be written that way: -o json
writes items as JSON, keys and all.

Items with siblings are left out, listed on stderr, and make the exit code 1, unless --siblings says what
to write. With --file an export that was interrupted goes on when it is given again with --resume.`,
		Example: `  starling export unicode > unicode.jsonl
  starling export unicode --file unicode.jsonl --resume`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.call.bucket = args[0]
			if err := f.check(); err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				return a.runExport(cmd.Context(), c, &f)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.output, "file", "", "file to write instead of stdout")
	flags.StringVar(&f.state, "state", "", "file that keeps how far the export came (default FILE"+exportStateSuffix+")")
	flags.BoolVar(&f.resume, "resume", false, "go on with the output file of an interrupted export, if there is one")
	flags.BoolVar(&f.force, "force", false, "replace the output file")
	flags.StringVar(&f.siblings, "siblings", siblingsError, "of an item with siblings write: error (nothing), latest, all")
	f.call.read(cmd)
	return cmd
}

func (f *exportFlags) check() error {
	switch f.siblings {
	case siblingsError, siblingsLatest, siblingsAll:
	default:
		return misused("--siblings %s: want error, latest or all", f.siblings)
	}
	if f.output == "" && (f.resume || f.force || f.state != "") {
		return misused("--resume, --force and --state need --file")
	}
	if f.resume && f.force {
		return misused("--resume goes on and --force starts over: give one of them")
	}
	if f.state == "" {
		f.state = f.output + exportStateSuffix
	}
	return nil
}

func (a *app) runExport(ctx context.Context, c *client.Client, f *exportFlags) error {
	opts, err := f.call.options()
	if err != nil {
		return err
	}
	cluster, err := a.clusterID(ctx, c)
	if err != nil {
		return err
	}
	out, err := a.openExport(f, cluster)
	if err != nil {
		return err
	}
	e := &exporter{app: a, flags: f, out: out, began: time.Now(), saved: time.Now()}
	e.bar = a.newProgress("exporting", progressSteps, false)
	err = e.run(c.Scan(ctx, f.call.bucket, client.ScanOptions{Resume: out.state.Resume}, opts...))
	e.bar.finish()
	err = errors.Join(err, out.finish(err == nil))
	a.note("Exported %s in %.1f s.", counted(out.state.Records, "record", "records"), time.Since(e.began).Seconds())
	switch {
	case err != nil:
		if f.output != "" && out.state.Resume != nil {
			a.note("With --resume the export goes on behind them.")
		}
		return fmt.Errorf("export of bucket %s: %w", f.call.bucket, err)
	case out.state.LeftOut > 0:
		a.note("Left out %s with siblings: --siblings latest or all writes them, starling get shows how to resolve them.",
			counted(out.state.LeftOut, "item", "items"))
		return &silentError{code: exitFailed}
	}
	return nil
}

// exportState is how far an export came.
type exportState struct {
	Cluster  string `json:"cluster_id"` // in hex: a scan's token means nothing to another
	Bucket   string `json:"bucket"`
	Siblings string `json:"siblings"`
	Format   string `json:"format"`
	// Resume is the scan's token, Offset the length of the output that goes with it.
	Resume  []byte `json:"resume"`
	Offset  int64  `json:"offset"`
	Records int    `json:"records"`
	LeftOut int    `json:"left_out"`
}

// exportOutput is where an export goes: stdout, or a file with a state file beside it.
type exportOutput struct {
	*bufio.Writer
	file  *os.File
	store stateFile
	state exportState
	// written counts bytes, flushed or not.
	written int64
}

func (a *app) openExport(f *exportFlags, cluster string) (*exportOutput, error) {
	o := &exportOutput{Writer: a.stdout, store: stateFile{path: f.state}}
	o.state = exportState{Cluster: cluster, Bucket: f.call.bucket, Siblings: f.siblings, Format: a.output.String()}
	if f.output == "" {
		return o, nil
	}
	if f.resume {
		if found, err := o.reopen(f); found || err != nil {
			return o, err
		}
	}
	mode := os.O_CREATE | os.O_WRONLY | os.O_EXCL
	if f.force {
		mode = os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	}
	file, err := os.OpenFile(f.output, mode, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("export: %s is there already: --force replaces it, --resume goes on with an interrupted export", f.output)
	}
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	o.file, o.Writer = file, bufio.NewWriterSize(file, 1<<20)
	return o, nil
}

// reopen goes on with the output of an interrupted export, cut to what its state vouches for; found is
// false when there is none.
func (o *exportOutput) reopen(f *exportFlags) (found bool, err error) {
	var old exportState
	if found, err = o.store.load(&old); err != nil || !found {
		return found, err
	}
	if old.Cluster != o.state.Cluster || old.Bucket != o.state.Bucket || old.Siblings != o.state.Siblings || old.Format != o.state.Format {
		return true, fmt.Errorf("export: %s is of another export (cluster %s, bucket %s, --siblings %s, -o %s)",
			o.store.path, old.Cluster, old.Bucket, old.Siblings, old.Format)
	}
	file, err := os.OpenFile(f.output, os.O_WRONLY, 0)
	if err != nil {
		return true, fmt.Errorf("export: go on with an interrupted export: %w", err)
	}
	info, err := file.Stat()
	if err == nil && info.Size() < old.Offset {
		err = fmt.Errorf("%s has %d bytes, and %s tells of %d", f.output, info.Size(), o.store.path, old.Offset)
	}
	if err == nil {
		err = file.Truncate(old.Offset)
	}
	if err == nil {
		_, err = file.Seek(old.Offset, io.SeekStart)
	}
	if err != nil {
		return true, errors.Join(fmt.Errorf("export: go on with an interrupted export: %w", err), file.Close())
	}
	o.file, o.Writer, o.state, o.written = file, bufio.NewWriterSize(file, 1<<20), old, old.Offset
	return true, nil
}

// Write counts what it writes.
func (o *exportOutput) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	o.written += int64(n)
	return n, err
}

// save makes what was written durable, then the state that vouches for it.
func (o *exportOutput) save() error {
	if o.file == nil {
		return nil
	}
	if err := errors.Join(o.Flush(), o.file.Sync()); err != nil {
		return err
	}
	return o.store.save(o.state)
}

// finish closes the output. The state file goes when the export is complete, and so does an output that
// has nothing in it that another run could go on from.
func (o *exportOutput) finish(complete bool) error {
	if o.file == nil {
		return o.Flush()
	}
	err := errors.Join(o.Flush(), o.file.Sync(), o.file.Close())
	switch {
	case complete && err == nil:
		return o.store.remove()
	case o.state.Resume == nil:
		return errors.Join(err, os.Remove(o.file.Name()))
	}
	return errors.Join(err, o.store.save(o.state))
}
