package proctest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/ring"
)

// smallDisk is a file system of its own under the directory of a node.
type smallDisk struct {
	t   *testing.T
	dir string
}

// moveToSmallDisk moves the directory of a node that is down to a file system of that size.
func moveToSmallDisk(t *testing.T, n *Node, size string) *smallDisk {
	t.Helper()
	aside := n.Dir + ".aside"
	if err := errors.Join(os.Rename(n.Dir, aside), os.Mkdir(n.Dir, 0o750)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", n.Dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small file system can't be mounted: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(n.Dir, syscall.MNT_DETACH) })
	if err := os.CopyFS(n.Dir, os.DirFS(aside)); err != nil {
		t.Fatal(err)
	}
	return &smallDisk{t, n.Dir}
}

func (d *smallDisk) free() int64 {
	d.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// fill has a file of somebody else's leave that much room, or none.
func (d *smallDisk) fill(leave int64) {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.dir, "foreign"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for err == nil && d.free() > leave {
		_, err = f.Write(block)
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		d.t.Fatal(err)
	}
}

// ballast says whether the node holds room in its ballast.
func (d *smallDisk) ballast() bool {
	info, err := os.Stat(filepath.Join(d.dir, "ballast"))
	if err != nil {
		return false
	}
	return info.Sys().(*syscall.Stat_t).Blocks*512 >= 1<<20
}

// empty removes that file.
func (d *smallDisk) empty() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "foreign")); err != nil {
		d.t.Fatal(err)
	}
}

// fullDisk is a test's cluster of which one node has a small disk.
type fullDisk struct {
	*Cluster
	t      *testing.T
	victim int
	disk   *smallDisk
	// all is a client of all nodes, one of the victim's alone in the beginning.
	all, one *client.Client
	epoch    *ring.Epoch
	single   client.Bucket // of one replica

	written map[string][]client.Key // acknowledged, by bucket
}

const singleBucket = "single"

// put writes a key that is new; acknowledged ones are looked for at the end.
func (f *fullDisk) put(cl *client.Client, bucket, key string, opts ...client.CallOption) error {
	k := client.NewKey(key, "")
	_, err := cl.Put(context.Background(), bucket, k, []byte("value of "+key), opts...)
	if err == nil {
		f.written[bucket] = append(f.written[bucket], k)
	}
	return err
}

func (f *fullDisk) mustPut(cl *client.Client, bucket, key string, opts ...client.CallOption) {
	f.t.Helper()
	if err := f.put(cl, bucket, key, opts...); err != nil {
		f.t.Fatalf("put %q into %s: %v", key, bucket, err)
	}
}

// only returns the nth key of which the victim holds the only copy.
func (f *fullDisk) only(nth int) string {
	f.t.Helper()
	id := f.id()
	for i := 0; ; i++ {
		key := fmt.Sprint("only", i)
		owners := f.epoch.Base.Owners(f.epoch.Base.PartitionOf(ring.TokenOf(f.single.ID, []byte(key))), 1)
		if owners[0] != id {
			continue
		}
		if nth--; nth < 0 {
			return key
		}
	}
}

func (f *fullDisk) id() ring.NodeID {
	f.t.Helper()
	st, err := f.all.Status(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, n := range st.Nodes {
		if n.Name == f.Node(f.victim).Name {
			return ring.NodeID(n.ID)
		}
	}
	f.t.Fatal("the victim has no id")
	return ring.NodeID{}
}

// wantRefused wants a write that only the victim could take refused with numbers.
func (f *fullDisk) wantRefused(key string) {
	f.t.Helper()
	err := f.put(f.all, singleBucket, key, client.Strict())
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != "DISK_FULL" || !errors.Is(err, client.ErrUnavailable) || e.Metadata["free"] == "" || e.Metadata["reserve"] == "" {
		f.t.Fatalf("a write to the full node: %v", err)
	}
}

// readAll wants every acknowledged write read.
func (f *fullDisk) readAll() {
	f.t.Helper()
	for bucket, keys := range f.written {
		for _, k := range keys {
			got, err := f.all.Get(context.Background(), bucket, k, client.Strict())
			if err != nil || len(got.Versions) != 1 || string(got.Versions[0].Value) != "value of "+string(k.Partition) {
				f.t.Errorf("%s in %s: %+v, %v", k.Partition, bucket, got, err)
			}
		}
	}
}

// TestFullDisk fills the disk of one of three nodes from outside, first below its reserve and then to the last byte,
// kills it there and starts it again, and makes room.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	const reserve = 48 << 20
	f := &fullDisk{t: t, victim: 1, written: make(map[string][]client.Key)}
	f.Cluster = New(t, Options{Nodes: 3, Args: []string{"--disk-reserve", "48MiB"}})
	n := f.Node(f.victim)
	f.Terminate(Patience, f.victim)
	f.disk = moveToSmallDisk(t, n, "256m")
	f.Restart(f.victim)
	f.WaitReady()
	f.all, f.one = f.Client(), f.ClientOf([]string{n.Client})
	b, _, err := f.all.CreateBucket(context.Background(), client.Bucket{Name: singleBucket, N: 1})
	if err != nil {
		t.Fatal(err)
	}
	f.single = b
	f.epoch, _ = layout(t, f.all)
	figure := func(name string) float64 {
		m, err := n.Metrics()
		if err != nil {
			return -1
		}
		return m["starling_"+name]
	}
	f.Within(Patience, "the ballast is there", f.disk.ballast)
	for i := range 20 {
		f.mustPut(f.all, bucket, fmt.Sprint("before", i), client.Strict())
	}
	f.mustPut(f.all, singleBucket, f.only(0), client.Strict())

	f.disk.fill(reserve - 4<<20)
	took := f.Within(Patience, "the node notices", func() bool { return figure("disk_full") == 1 })
	t.Logf("noticed after %v", took)
	if took > 2*time.Second {
		t.Errorf("noticed after %v", took)
	}
	f.wantRefused(f.only(1))
	f.readAll()
	for i := range 20 { // through the full node too
		f.mustPut(f.one, bucket, fmt.Sprint("full", i), client.Strict())
	}
	if err := n.Ready(); err != nil {
		t.Errorf("the full node: %v", err)
	}

	f.disk.fill(0)
	f.readAll()
	f.Kill9(f.victim)
	if left := f.disk.free(); left > 0 || !f.disk.ballast() {
		t.Errorf("%d bytes are free when the node starts, and the ballast is there: %t", left, f.disk.ballast())
	}
	f.Restart(f.victim)
	f.WaitReady()
	if f.disk.ballast() {
		t.Error("the node started on the full disk without the room of its ballast")
	}
	f.wantRefused(f.only(1))
	f.readAll()
	for i := range 20 {
		f.mustPut(f.all, bucket, fmt.Sprint("restarted", i), client.Strict())
	}
	if refusals := figure("disk_full_refusals_total"); refusals == 0 {
		t.Error("no refusals are counted")
	}

	f.disk.empty()
	resumed := time.Now()
	took = f.Within(Patience, "writes go on by themselves", func() bool {
		return f.put(f.all, singleBucket, f.only(1), client.Strict()) == nil
	})
	t.Logf("writes went on after %v", took)
	f.Within(Patience, "the ballast is made again", f.disk.ballast)
	t.Logf("hints were drained after %v", hintsWithin(f.Cluster, f.all, resumed, drainBound))
	f.readAll()
	t.Logf("every owner holds the same versions of %d items", compareDisks(t, f.Cluster, f.all))
}
