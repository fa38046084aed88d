//go:build unix

package proctest

import (
	"context"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// hintsWithin waits until no node holds a hint, and returns how long that took since start.
func hintsWithin(c *Cluster, cl *client.Client, start time.Time, limit time.Duration) time.Duration {
	c.t.Helper()
	last := "no answer"
	c.Within(limit-time.Since(start), "no hints wait", func() bool {
		h, err := cl.Hints(context.Background(), client.Timeout(5*time.Second))
		if err != nil {
			last = err.Error()
			return false
		}
		last = ""
		for _, s := range h.Hints {
			if s.Items > 0 {
				last += " " + s.Holder + " holds hints for " + s.Target
			}
		}
		for _, name := range h.Missing {
			last += " " + name + " does not answer"
		}
		return last == ""
	}, func() string { return last })
	return time.Since(start)
}

// disk is what one stopped node holds of a bucket, by range key.
type disk map[string]causal.State

// readDisk opens a stopped node's directory. A node at rest holds no hints.
func readDisk(t *testing.T, n *Node, bucket uint64) (ring.NodeID, disk) {
	t.Helper()
	s, err := storage.Open(storage.Options{Dir: n.Dir})
	if err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
	}()
	for _, h := range s.HintStats() {
		t.Errorf("%s holds %d hints for %v", n.Name, h.Items, ring.NodeID(h.Target))
	}
	items, _, err := s.Range(context.Background(), storage.RangeRequest{Bucket: bucket})
	if err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
	d := make(disk, len(items))
	for _, item := range items {
		d[string(item.Key)] = item.State
	}
	return ring.NodeID(s.Identity().NodeID), d
}

// layout is what a running cluster says of where the bucket's items belong.
func layout(t *testing.T, cl *client.Client) (*ring.Epoch, client.Bucket) {
	t.Helper()
	r, err := cl.Ring(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range r.Buckets {
		if b.Name == bucket {
			return r.Epoch, b
		}
	}
	t.Fatalf("no bucket %q", bucket)
	return nil, client.Bucket{}
}

// mendByReading reads what was written right before nodes were killed from all owners, until none can be behind. A write
// whose coordinator was killed right after it, together with an owner that had not stored it, is owed by nobody: only a
// read finds it. All that was written before and later must have converged by itself.
func mendByReading(t *testing.T, c *Cluster, cl *client.Client, records []*record) {
	t.Helper()
	for range 2 { // what the first mends after its reply the second waits for
		readAll(t, cl, records, client.R(client.All), client.Strict())
	}
	hintsWithin(c, cl, time.Now(), drainBound)
}

// compareDisks stops the cluster gracefully and proves that every owner of every item holds the same versions, and
// that nobody else holds any. It returns how many items there are.
func compareDisks(t *testing.T, c *Cluster, cl *client.Client) int {
	t.Helper()
	epoch, b := layout(t, cl)
	t.Logf("all nodes stopped within %v", c.Terminate(Patience, c.All()...))
	disks := make(map[ring.NodeID]disk)
	names := make(map[ring.NodeID]string)
	union := make(map[string]bool)
	for _, i := range c.All() {
		id, d := readDisk(t, c.Node(i), b.ID)
		disks[id], names[id] = d, c.Node(i).Name
		for key := range d {
			union[key] = true
		}
	}
	faults := 0
	report := func(format string, args ...any) {
		if faults++; faults <= 20 {
			t.Errorf(format, args...)
		}
	}
	for rangeKey := range union {
		key, err := storage.DecodeRangeKey(b.ID, []byte(rangeKey))
		if err != nil {
			t.Fatal(err)
		}
		partition := epoch.Base.PartitionOf(ring.Token(key.Token))
		owners := epoch.Base.Owners(partition, b.N)
		first, there := disks[owners[0]][rangeKey]
		for id, d := range disks {
			state, ok := d[rangeKey]
			switch {
			case !epoch.Base.IsOwner(partition, b.N, id):
				if ok {
					report("%q: %s holds it and is no owner", key.Partition, names[id])
				}
			case !ok || !there:
				if id != owners[0] || ok != there {
					report("%q: owner %s has it: %t; owner %s: %t", key.Partition, names[id], ok, names[owners[0]], there)
				}
			case !sameVersions(first, state):
				report("%q: owner %s holds %v, owner %s %v", key.Partition, names[owners[0]], dots(first), names[id], dots(state))
			}
		}
	}
	if faults > 20 {
		t.Errorf("and %d more", faults-20)
	}
	return len(union)
}

// sameVersions compares all that was written, byte by byte.
func sameVersions(a, b causal.State) bool {
	return string(causal.AppendState(nil, a)) == string(causal.AppendState(nil, b))
}

func dots(s causal.State) (out []causal.Dot) {
	for _, v := range s.Versions {
		out = append(out, v.Dot)
	}
	return out
}
