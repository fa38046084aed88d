package chaos

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/storage"
)

// spoiling are the faults of what is on disk. One copy of an item may be bad at a time, and no promise is made beyond that: so
// they keep away from one another, by the time that it takes until all copies are good again.
var spoiling = map[Kind]bool{OldDisk: true, Rot: true}

// apart is how long nothing else is spoiled after that.
const apart = 30 * time.Second

// errNoDisks is a cluster whose disks can't be got at.
var errNoDisks = errors.New("the disks of this cluster can't be got at")

// bucketIDs are those of all buckets.
func bucketIDs(ctx context.Context, c Cluster) (ids []uint64, err error) {
	cl, err := client.Open(ctx, c.ClientAddrs())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cl.Close()) }()
	r, err := cl.Ring(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range r.Buckets {
		ids = append(ids, b.ID)
	}
	return ids, nil
}

// spoil does to the disk of a node what it must not know of.
func (in *injector) spoil(e Event) error {
	disks, ok := in.cluster.(diskKeeper)
	if !ok {
		return errNoDisks
	}
	return in.each(e.Nodes, func(i int) error {
		if err := in.cluster.Kill(i); err != nil {
			return err
		}
		dir := disks.DataDir(i)
		if e.Kind == Rot {
			return rot(dir, in.buckets, e.Index)
		}
		if err := os.CopyFS(imageOf(dir), os.DirFS(dir)); err != nil {
			return err
		}
		return in.cluster.Start(i)
	})
}

func imageOf(dir string) string { return dir + ".image" }

// putBack gives a node the disk that it had when the fault began.
func (in *injector) putBack(e Event) error {
	disks, ok := in.cluster.(diskKeeper)
	if !ok {
		return errNoDisks
	}
	return in.each(e.Nodes, func(i int) error {
		if err := in.cluster.Kill(i); err != nil && !errors.Is(err, errAway) {
			return err
		}
		dir := disks.DataDir(i)
		return errors.Join(os.RemoveAll(dir), os.Rename(imageOf(dir), dir))
	})
}

// rotShare is the part of the items that one fault damages: one in so many. Each fault takes others.
const rotShare = 64

// rot flips a bit in the records of some items of a node that is down.
func rot(dir string, buckets []uint64, turn int) (err error) {
	s, err := storage.Open(storage.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx := context.Background()
	for _, bucket := range buckets {
		items, _, err := s.Range(ctx, storage.RangeRequest{Bucket: bucket})
		if err != nil {
			return err
		}
		for _, item := range items {
			h := fnv.New32a()
			_, _ = h.Write(item.Key) // never fails
			if int(h.Sum32()%rotShare) != turn%rotShare {
				continue
			}
			k, err := storage.DecodeRangeKey(bucket, item.Key)
			if err != nil {
				return err
			}
			if err := s.Damage(ctx, k); err != nil {
				return fmt.Errorf("damage an item: %w", err)
			}
		}
	}
	return nil
}
