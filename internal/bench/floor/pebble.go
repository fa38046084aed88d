package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2"

	"github.com/starling-db/starling/internal/bench"
)

// memTable is as large as a node's is by default.
const memTable = 32 << 20

// quiet drops what Pebble says of its daily work.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (quiet) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// pebble measures writes that are each on disk when they end; those that wait at the same time share an fsync.
func (f *flags) pebble(ctx context.Context) (err error) {
	dir := f.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "starling-floor-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	db, err := pebble.Open(dir, &pebble.Options{MemTableSize: memTable, Logger: quiet{}})
	if err != nil {
		return fmt.Errorf("pebble in %s: %w", dir, err)
	}
	r, err := f.measure(ctx, "pebble", func(_ context.Context, _ int, op bench.Op) error {
		return db.Set(op.Key.Partition, op.Value, pebble.Sync)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return f.print(r)
}
