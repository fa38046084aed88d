package main

import (
	"context"
	enchex "encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

// importStateSuffix is appended to the name of the input for the file that keeps how far it was read.
const importStateSuffix = ".starling-import"

// importTimeout bounds a batch of an import, unless --timeout says otherwise.
const importTimeout = 30 * time.Second

// importPatience leaves room in the minute for which servers know a request id.
const importPatience = 30 * time.Second

// importFlags are the flags of an import.
type importFlags struct {
	call         callFlags
	cluster      string // id, in hex
	fields       keyFields
	state        string
	noCreate     bool
	keepSiblings bool
	workers      int
	patience     time.Duration
	batch        int
}

func (a *app) importCommand() *cobra.Command {
	f := importFlags{call: callFlags{app: a}}
	cmd := &cobra.Command{
		Use:   "import BUCKET FILE.jsonl --partition-key FIELD [--sort-key FIELD]",
		Short: "Store the lines of a file of JSON objects",
		Long: `Store the lines of a file of JSON objects. Each line, byte for byte without its newline, is the value
of an item whose key is taken from the fields of the object. A FILE of - is stdin. The bucket is made if it
is not there.

A line replaces what its item held: importing a file twice leaves one version of each item, and of lines
with the same key the last one stays. To that end every line is read back once it is stored. Versions that
others write at the same time may be replaced, too; --keep-siblings leaves them all, and is faster.

An import that was interrupted goes on where it was, when the same command is given again: how far it
came is kept beside the input, in FILE` + importStateSuffix + ` or where --state says. Lines that can't be stored are
reported by number, and the exit code is 1. An import that the cluster takes nothing of for as long as
--patience stops.`,
		Example: `  starling import unicode unicode.jsonl --partition-key block --sort-key code`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.fields.Partition == "" {
				return misused("import: --partition-key is required")
			}
			if f.workers < 1 || f.workers > 256 || f.batch < 1 || f.batch > 1000 {
				return misused("import: want --workers from 1 to 256, --batch from 1 to 1000")
			}
			f.call.bucket = args[0]
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				return a.runImport(cmd.Context(), c, &f, args[1])
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.fields.Partition, "partition-key", "", "field that is the partition key")
	flags.StringVar(&f.fields.Sort, "sort-key", "", "field that is the sort key")
	flags.StringVar(&f.state, "state", "", "file that keeps how far the import came (default FILE"+importStateSuffix+")")
	flags.BoolVar(&f.noCreate, "no-create", false, "refuse a bucket that is not there")
	flags.BoolVar(&f.keepSiblings, "keep-siblings", false, "leave the versions that are there as siblings")
	flags.IntVar(&f.workers, "workers", 4, "batches under way at once")
	flags.IntVar(&f.batch, "batch", 100, "items of a batch")
	flags.DurationVar(&f.patience, "patience", importPatience, "for how long a batch that the cluster refuses is tried again")
	f.call.write(cmd)
	return cmd
}

func (a *app) runImport(ctx context.Context, c *client.Client, f *importFlags, path string) error {
	opts, err := f.call.options()
	if err != nil {
		return err
	}
	if a.timeout == 0 {
		opts = append(opts, client.Timeout(importTimeout))
	}
	if f.cluster, err = a.clusterID(ctx, c); err != nil {
		return err
	}
	in, err := a.openInput(path, f)
	if err != nil {
		return err
	}
	defer in.close()
	bucket, err := a.ensureBucket(ctx, c, f)
	if err != nil {
		return err
	}
	if in.line > 0 {
		a.note("Going on behind line %d, where the last import was interrupted.", in.line)
	}
	i := newImporter(a, c, f, opts, in, bucket)
	began := time.Now()
	err = i.run(ctx)
	i.bar.finish()
	return a.reportImport(i, in, time.Since(began), err)
}

// clusterID is what tells the cluster from others in files that outlive it.
func (a *app) clusterID(ctx context.Context, c *client.Client) (string, error) {
	status, err := c.Status(ctx, append(a.callOptions(), client.LocalOnly())...)
	if err != nil {
		return "", err
	}
	return enchex.EncodeToString(status.ClusterID), nil
}

// ensureBucket finds the bucket, or makes it.
func (a *app) ensureBucket(ctx context.Context, c *client.Client, f *importFlags) (client.Bucket, error) {
	buckets, err := c.ListBuckets(ctx, a.callOptions()...)
	if err != nil {
		return client.Bucket{}, err
	}
	for _, b := range buckets {
		if b.Name == f.call.bucket {
			return b, nil
		}
	}
	if f.noCreate {
		return client.Bucket{}, fmt.Errorf("import: bucket %s: %w", f.call.bucket, client.ErrUnknownBucket)
	}
	made, _, err := c.CreateBucket(ctx, client.Bucket{Name: f.call.bucket}, a.callOptions()...)
	if err != nil {
		return client.Bucket{}, err
	}
	a.note("Made bucket %s (N=%d, %s).", made.Name, made.N, made.Conflict)
	return made, nil
}

// importReport is what an import did, in JSON.
type importReport struct {
	Rows      int     `json:"rows"`
	Replaced  int     `json:"replaced"`
	Failed    int     `json:"failed"`
	Complete  bool    `json:"complete"`
	Seconds   float64 `json:"seconds"`
	RowsPerS  float64 `json:"rows_per_second"`
	StateFile string  `json:"state_file,omitempty"`
}

// reportImport sums an import up, and settles its state file: without one, the next import starts over.
func (a *app) reportImport(i *importer, in *input, took time.Duration, runErr error) error {
	r := importReport{
		Rows: i.rows, Replaced: i.replaced, Failed: i.failed, Complete: runErr == nil && i.tracker.held == 0,
		Seconds: took.Seconds(), RowsPerS: float64(i.rows) / max(took.Seconds(), 1e-9),
	}
	var stateErr error
	if r.Complete {
		stateErr = in.removeState()
	} else if in.state.path != "" && i.tracker.mark > 0 {
		if stateErr = in.saveState(i.tracker.position()); stateErr == nil {
			r.StateFile = in.state.path
		}
	}
	if a.output == outputJSON {
		if err := a.writeJSON(r); err != nil {
			return err
		}
	}
	a.note("Imported %s in %.1f s (%.0f rows/s), %d of them replacing what was there; %d failed.",
		counted(r.Rows, "row", "rows"), r.Seconds, r.RowsPerS, r.Replaced, r.Failed)
	if stateErr != nil {
		a.note("The state file could not be kept: %v", stateErr)
	}
	if r.StateFile != "" {
		a.note("The same command goes on behind line %d (%s knows).", i.tracker.mark, r.StateFile)
	}
	switch {
	case errors.Is(runErr, context.Canceled):
		return fmt.Errorf("import interrupted: %w", runErr)
	case runErr != nil:
		return runErr
	case r.Failed > 0:
		return &silentError{code: exitFailed}
	}
	return nil
}

// input is the file of an import.
type input struct {
	io.Reader
	file  *os.File
	state stateFile
	// saved is what the state file says beside the position.
	saved importState
	// line and offset are where reading begins.
	line   int
	offset int64
}

func (a *app) openInput(path string, f *importFlags) (*input, error) {
	if path == "-" {
		return &input{Reader: a.in}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	in := &input{Reader: file, file: file, state: stateFile{path: f.state}}
	if f.state == "" {
		in.state.path = path + importStateSuffix
	}
	if err := in.resume(a, f); err != nil {
		return nil, errors.Join(fmt.Errorf("import: %w", err), file.Close())
	}
	return in, nil
}

func (in *input) close() {
	if in.file != nil {
		_ = in.file.Close() // only read
	}
}
