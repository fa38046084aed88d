package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/history"
)

// Limits of what may follow the last fault.
const (
	// drainLimit is how long hints may be left.
	drainLimit = 120 * time.Second
	// finalLimit is how long it may take to read all items from all their owners.
	finalLimit = 120 * time.Second
	// finalReaders are the reads under way at the end.
	finalReaders = 16
	// stopLimit is how long a node may take to stop when it is asked to.
	stopLimit = 60 * time.Second
)

// allReady waits until every node takes requests; those that have stopped are started again.
func allReady(ctx context.Context, c Cluster, limit time.Duration) (time.Duration, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		var errs []error
		for i := range c.Size() {
			if err := c.Start(i); err != nil {
				errs = append(errs, fmt.Errorf("start %s: %w", nodeName(i), err))
			} else if err := c.Ready(ctx, i); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", nodeName(i), err))
			}
		}
		if len(errs) == 0 {
			return time.Since(start), nil
		}
		if !sleep(ctx, lookEvery) {
			return time.Since(start), fmt.Errorf("not all nodes are ready after %v: %w", limit, errors.Join(errs...))
		}
	}
}

// drained waits until no node holds a hint.
func drained(ctx context.Context, cl *client.Client, limit time.Duration) (time.Duration, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		left := "no answer"
		h, err := cl.Hints(ctx, client.Timeout(5*time.Second))
		if err == nil {
			left = leftOf(h)
		}
		if left == "" {
			return time.Since(start), nil
		}
		if !sleep(ctx, 2*lookEvery) {
			return time.Since(start), fmt.Errorf("hints are left after %v: %s", limit, left)
		}
	}
}

func leftOf(h *client.Hints) string {
	var left []string
	for _, s := range h.Hints {
		if s.Items > 0 {
			left = append(left, fmt.Sprintf("%s holds %d for %s", s.Holder, s.Items, s.Target))
		}
	}
	for _, name := range h.Missing {
		left = append(left, name+" does not answer")
	}
	return strings.Join(left, ", ")
}

// readFinals reads all items of a history from all their owners.
func readFinals(ctx context.Context, cl *client.Client, ops []history.Op) ([]history.Final, error) {
	var keys []history.Key
	there := make(map[history.Key]bool)
	for _, op := range ops {
		if !there[op.Key] {
			there[op.Key] = true
			keys = append(keys, op.Key)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, finalLimit)
	defer cancel()
	finals := make([]history.Final, len(keys))
	errs := make([]error, len(keys))
	work := make(chan int)
	var reading sync.WaitGroup
	for range finalReaders {
		reading.Go(func() {
			for i := range work {
				finals[i].Key = keys[i]
				finals[i].Read, errs[i] = readFinal(ctx, cl, keys[i])
			}
		})
	}
	for i := range keys {
		work <- i
	}
	close(work)
	reading.Wait()
	// What could not be read says nothing of what is there.
	var read []history.Final
	for i, f := range finals {
		if errs[i] == nil {
			read = append(read, f)
		}
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) > 3 {
		errs = append(errs[:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return read, errors.Join(errs...)
}

func readFinal(ctx context.Context, cl *client.Client, key history.Key) ([]history.Version, error) {
	for {
		got, err := cl.Get(ctx, key.Bucket, client.NewKey(key.Partition, key.Sort), client.R(client.All), client.Strict(),
			client.Timeout(5*time.Second))
		if err == nil {
			return versionsOf(got.Versions), nil
		}
		if !sleep(ctx, 2*lookEvery) {
			return nil, fmt.Errorf("read %s from all its owners: %w", key, err)
		}
	}
}
