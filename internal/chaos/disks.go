package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/history"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// diskKeeper is a cluster whose disks can be got at while nodes are down.
type diskKeeper interface {
	// DataDir is where a node keeps its data.
	DataDir(i int) string
}

// repairTime is left to repairs that go on after the last read was answered.
const repairTime = time.Second

// lookAtDisks adds to the finals what the disks of a stopped cluster hold, and notes the hints that are left.
func lookAtDisks(c Cluster, r *client.Ring, run *history.Run) error {
	places := make(map[history.Key]int, len(run.Finals))
	for i, f := range run.Finals {
		places[f.Key] = i
	}
	run.HintsLeft = make(map[string]int)
	var errs []error
	for i := range c.Size() {
		dir, err := c.Data(i)
		if err == nil {
			err = lookAtDisk(dir, nodeName(i), r, run, places)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("look at the disk of %s: %w", nodeName(i), err))
		}
	}
	return errors.Join(errs...)
}

func lookAtDisk(dir, name string, r *client.Ring, run *history.Run, places map[history.Key]int) (err error) {
	s, err := storage.Open(storage.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	run.HintsLeft[name] = 0
	for _, h := range s.HintStats() {
		run.HintsLeft[name] += int(h.Items)
	}
	for _, c := range s.Claims() {
		run.PurgedBefore = max(run.PurgedBefore, causal.PurgeBefore(c.PurgeLevel, 0))
	}
	id := ring.NodeID(s.Identity().NodeID)
	held := make(map[history.Key]bool)
	for _, b := range r.Buckets {
		items, _, err := s.Range(context.Background(), storage.RangeRequest{Bucket: b.ID})
		if err != nil {
			return err
		}
		for _, item := range items {
			k, err := storage.DecodeRangeKey(b.ID, item.Key)
			if err != nil {
				return err
			}
			key := history.Key{Bucket: b.Name, Partition: string(k.Partition), Sort: string(k.Sort)}
			at, known := places[key]
			if !known {
				continue // it could not be read
			}
			held[key] = true
			run.Finals[at].Copies = append(run.Finals[at].Copies, history.Copy{
				Node: name, Owner: owns(r, b, k.Token, id), State: causal.AppendState(nil, item.State), Versions: copied(item.State),
			})
		}
		for key, at := range places {
			token := ring.TokenOf(b.ID, []byte(key.Partition))
			if key.Bucket == b.Name && !held[key] && owns(r, b, uint64(token), id) {
				run.Finals[at].Copies = append(run.Finals[at].Copies, history.Copy{Node: name, Owner: true})
			}
		}
	}
	return nil
}

func owns(r *client.Ring, b client.Bucket, token uint64, id ring.NodeID) bool {
	layout := r.Epoch.Base
	return layout.IsOwner(layout.PartitionOf(ring.Token(token)), b.N, id)
}

func copied(s causal.State) (out []history.Version) {
	for _, v := range s.Versions {
		out = append(out, history.Version{
			Write: history.IDOf(v.RequestID), Dot: v.Dot, Value: string(v.Value), Tombstone: v.Tombstone,
		})
	}
	return out
}
