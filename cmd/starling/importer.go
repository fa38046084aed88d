package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-db/starling/client"
)

const (
	// shownFailures is how many failed lines are reported each by itself.
	shownFailures = 100
	// importBatchBytes is about the most bytes of a batch of an import.
	importBatchBytes = 4 << 20
	// saveEvery is how often the position is written to the state file.
	saveEvery = time.Second
)

// row is one line of an import.
type row struct {
	line int
	end  int64
	item client.PutItem
}

// importer stores lines. The reader deals them to workers by their keys, so that lines with the same
// key are stored one after the other, in their order.
type importer struct {
	client *client.Client
	flags  *importFlags
	opts   []client.CallOption
	in     *input
	bar    *progress
	seed   maphash.Seed
	// replaces: siblings of what is imported are looked for, and replaced.
	replaces bool

	mu       sync.Mutex
	tracker  *tracker
	rows     int
	replaced int
	failed   int
	saved    time.Time
}

func newImporter(a *app, c *client.Client, f *importFlags, opts []client.CallOption, in *input, b client.Bucket) *importer {
	return &importer{
		client: c, flags: f, opts: opts, in: in, bar: a.newProgress("importing", in.saved.Size, true),
		seed: maphash.MakeSeed(), replaces: !f.keepSiblings && b.Conflict != client.ConflictLWW, tracker: newTracker(in.line, in.offset), saved: time.Now(),
	}
}

// run stores all lines. It fails when reading does, when ctx ends, or when the cluster takes nothing any
// more; lines that can't be stored are counted and reported, no error.
func (i *importer) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	queues := make([]chan []row, i.flags.workers)
	for w := range queues {
		queue := make(chan []row, 1)
		queues[w] = queue
		group.Go(func() error {
			for batch := range queue {
				if err := i.store(ctx, batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer func() {
			for _, queue := range queues {
				close(queue)
			}
		}()
		return i.read(ctx, queues)
	})
	return group.Wait()
}

// read deals the lines to the workers, in batches.
func (i *importer) read(ctx context.Context, queues []chan []row) error {
	source := newLines(i.in, i.in.line, i.in.offset)
	dealt := make([]deal, len(queues))
	for {
		line, err := source.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, errLineTooLong) {
			return fmt.Errorf("import: line %d: %w", source.number+1, err)
		}
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			i.settle(source.number, source.offset)
			continue
		}
		r := row{line: source.number, end: source.offset}
		if err == nil {
			r.item.Value = line
			r.item.Key, err = i.flags.fields.key(line)
		}
		if err != nil {
			i.refuse(r, err)
			continue
		}
		w := i.worker(r.item.Key, len(queues))
		if full := dealt[w].add(r, i.flags.batch); full != nil {
			if err := send(ctx, queues[w], full); err != nil {
				return err
			}
		}
	}
	for w := range dealt {
		if err := send(ctx, queues[w], dealt[w].rows); err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) worker(key client.Key, workers int) int {
	var h maphash.Hash
	h.SetSeed(i.seed)
	_, _ = h.Write(key.Partition) // never fails
	_ = h.WriteByte(0)
	_, _ = h.Write(key.Sort)
	return int(h.Sum64() % uint64(workers))
}

func send(ctx context.Context, queue chan<- []row, batch []row) error {
	if len(batch) == 0 {
		return nil
	}
	select {
	case queue <- batch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deal collects the next batch of a worker.
type deal struct {
	rows  []row
	bytes int
	keys  map[string]bool
}

// add adds a row and returns a batch that has to go first, if there is one: because it is full, or
// because it has the same key, and the items of a batch are written in any order.
func (d *deal) add(r row, limit int) (full []row) {
	name := fmt.Sprintf("%d/%s/%s", len(r.item.Key.Partition), r.item.Key.Partition, r.item.Key.Sort)
	if len(d.rows) >= limit || d.bytes+len(r.item.Value) > importBatchBytes || d.keys[name] {
		full = d.rows
		*d = deal{}
	}
	if d.keys == nil {
		d.keys = make(map[string]bool)
	}
	d.keys[name] = true
	d.rows = append(d.rows, r)
	d.bytes += len(r.item.Value)
	return full
}

// settle notes that a line needs no further try.
func (i *importer) settle(line int, end int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tracker.settle(line, end)
}

// refuse notes a line that can't be stored, now or later.
func (i *importer) refuse(r row, err error) {
	i.mu.Lock()
	i.tracker.settle(r.line, r.end)
	i.mu.Unlock()
	i.report(r.line, err)
}

// postpone notes a line that another run may store.
func (i *importer) postpone(r row, err error, report bool) {
	i.mu.Lock()
	i.tracker.hold(r.line)
	i.mu.Unlock()
	if report {
		i.report(r.line, err)
	}
}

// report tells of a failed line.
func (i *importer) report(line int, err error) {
	i.mu.Lock()
	i.failed++
	failed := i.failed
	i.mu.Unlock()
	if failed <= shownFailures {
		i.bar.note("line %d: %v", line, err)
	}
	if failed == shownFailures {
		i.bar.note("More lines fail; they are only counted from here on.")
	}
}

// count takes the figures of a batch, moves the bar and now and then saves the position.
func (i *importer) count(stored, replaced int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rows += stored
	i.replaced += replaced
	i.bar.set(i.tracker.offset, i.rows)
	if time.Since(i.saved) < saveEvery {
		return
	}
	i.saved = time.Now()
	if err := i.in.saveState(i.tracker.position()); err != nil {
		i.bar.note("The position can't be saved, so the import could not go on after an interruption: %v. --state names another file.", err)
		i.in.state.path = ""
	}
}
