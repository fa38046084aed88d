package state

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/storage"
)

// A cluster founded on the real storage is there after the process has started again.
func TestFoundingOnStorage(t *testing.T) {
	fs := vfs.NewMem()
	open := func() *storage.Store {
		t.Helper()
		s, err := storage.Open(storage.Options{Dir: "data", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	c := newCluster(t, 1, func(o *Options) {
		o.Expect, o.Founder, o.Store, o.ClusterID = 1, true, s, s.Identity().ClusterID
	})
	takeStep(t, c, 0)
	before := c.node(0).Snapshot()
	if !before.Founded() || s.Identity().ClusterID != before.ClusterID {
		t.Fatalf("not founded, or the directory is not bound: %s", c.node(0).Waiting())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	if after := c.start(nodeID(0)).Snapshot(); after.ClusterID != before.ClusterID || after.Epoch == nil {
		t.Errorf("after a restart the node is in cluster %x, was in %x", after.ClusterID, before.ClusterID)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
