package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/bench"
)

// errNoItem: an item that must be there is not, or a scan that must find one finds none.
var errNoItem = errors.New("no item")

// do carries out one operation of a workload.
func (b *benchRun) do(ctx context.Context, caller int, op bench.Op) error {
	c, key := b.clients[caller%len(b.clients)], benchKey(op.Key)
	switch op.Kind {
	case bench.Read:
		_, err := b.read(ctx, c, key)
		return err
	case bench.Scan:
		return b.scan(ctx, c, key, op.Limit)
	case bench.Insert:
		_, err := c.Put(ctx, b.bucket.Name, key, op.Value, b.opts...)
		return err
	case bench.Update:
		if b.bucket.Conflict == client.ConflictLWW {
			_, err := c.Put(ctx, b.bucket.Name, key, op.Value, b.opts...)
			return err
		}
	}
	return b.modify(ctx, c, key, op.Value)
}

func (b *benchRun) read(ctx context.Context, c *client.Client, key client.Key) (*client.Result, error) {
	found, err := c.Get(ctx, b.bucket.Name, key, b.opts...)
	if err == nil && !found.Found() {
		err = errNoItem
	}
	return found, err
}

// modify reads an item and replaces what it read.
func (b *benchRun) modify(ctx context.Context, c *client.Client, key client.Key, value []byte) error {
	found, err := b.read(ctx, c, key)
	if err != nil {
		return err
	}
	opts := append(slices.Clip(b.opts), client.WithContext(found.Context))
	_, err = c.Put(ctx, b.bucket.Name, key, value, opts...)
	return err
}

func (b *benchRun) scan(ctx context.Context, c *client.Client, from client.Key, limit int) error {
	items := 0
	for page, err := range c.Query(ctx, b.bucket.Name, from.Partition, client.Range{From: from.Sort, Limit: limit}, b.opts...) {
		if err != nil {
			return err
		}
		items += len(page.Items)
	}
	if items == 0 {
		return errNoItem
	}
	return nil
}

// benchErrorKind names an error in a word or two, so that errors can be counted.
func benchErrorKind(err error) string {
	var e *client.Error
	switch {
	case errors.Is(err, errNoItem):
		return "no item"
	case !errors.As(err, &e):
		return "other"
	case e.Reason != "":
		return strings.ToLower(strings.ReplaceAll(e.Reason, "_", " "))
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline"
	case errors.Is(err, client.ErrOverloaded):
		return "held back"
	case errors.Is(err, client.ErrConnect):
		return "no connection"
	}
	return strings.ToLower(e.Code.String())
}
