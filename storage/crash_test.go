package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/starling-db/starling/causal"
)

// afterCrash runs check on the store as it is after a power cut now that keeps none, or half, of what was
// not synced.
func afterCrash(t *testing.T, fs *vfs.MemFS, check func(t *testing.T, s *testStore)) {
	t.Helper()
	for _, percent := range []int{0, 50} {
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(percent), 1))})
		t.Run(fmt.Sprintf("keeping %d%%", percent), func(t *testing.T) { check(t, open(t, clone)) })
	}
}

// Whatever was acknowledged is there after a power cut in the same moment.
func TestAcknowledgedIsDurable(t *testing.T) {
	ctx := context.Background()
	k := key("a", "1")
	for name, step := range map[string]func(t *testing.T, s *testStore) func(t *testing.T, s *testStore){
		"open": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			id := s.Identity()
			return func(t *testing.T, s *testStore) {
				if s.Identity() != id {
					t.Errorf("got %+v, want %+v", s.Identity(), id)
				}
			}
		},
		"adopt": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			must(t, s.Adopt(node(3), "birds"))
			return func(t *testing.T, s *testStore) {
				if id := s.Identity(); id.ClusterID != node(3) || id.Cluster != "birds" {
					t.Errorf("got %+v", id)
				}
			}
		},
		"put": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			s.put(t, k, s.write("x"), node(1))
			return func(t *testing.T, s *testStore) {
				wantValues(t, s.get(t, k), "x")
				if len(s.hints(t, node(1))) != 1 {
					t.Error("the hint is gone")
				}
			}
		},
		"put again, synced": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			w := s.write("x")
			_, _, err := s.Put(ctx, Put{Key: k, Write: w})
			must(t, err)
			if r := s.put(t, k, w); !r.Repeated {
				t.Fatal("not repeated")
			}
			return func(t *testing.T, s *testStore) { wantValues(t, s.get(t, k), "x") }
		},
		"merge": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			s.merge(t, Merge{Key: k, State: s.foreign(t, "x"), Sync: true})
			return func(t *testing.T, s *testStore) { wantValues(t, s.get(t, k), "x") }
		},
		"merge again, synced": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			state := s.foreign(t, "x")
			s.merge(t, Merge{Key: k, State: state})
			s.merge(t, Merge{Key: k, State: state, Sync: true})
			return func(t *testing.T, s *testStore) { wantValues(t, s.get(t, k), "x") }
		},
		"owe": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			_, _, err := s.Put(ctx, Put{Key: k, Write: s.write("x")})
			must(t, err)
			must(t, s.Owe(ctx, k, node(1), 1))
			return func(t *testing.T, s *testStore) {
				wantValues(t, s.get(t, k), "x")
				if len(s.hints(t, node(1))) != 1 {
					t.Error("the hint is gone")
				}
			}
		},
		"settle": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			s.put(t, k, s.write("x"), node(1))
			if !s.settle(t, s.hints(t, node(1))[0], s.get(t, k).Digest(), true) {
				t.Fatal("not settled")
			}
			return func(t *testing.T, s *testStore) {
				if len(s.hints(t, node(1))) != 0 || len(s.get(t, k).Versions) != 0 {
					t.Error("the settled hint is back")
				}
			}
		},
		"meta": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			must(t, s.SetMeta("doc", []byte("one")))
			must(t, s.SetHLCBound(99))
			return func(t *testing.T, s *testStore) {
				if b, err := s.Meta("doc"); string(b) != "one" || err != nil || s.HLCBound() != 99 {
					t.Errorf("got %q, %v, bound %d", b, err, s.HLCBound())
				}
			}
		},
		"drop": func(t *testing.T, s *testStore) func(t *testing.T, s *testStore) {
			s.put(t, k, s.write("x"), node(1))
			must(t, s.DropBucket(ctx, k.Bucket))
			return func(t *testing.T, s *testStore) {
				if len(s.hints(t, node(1))) != 0 || len(s.get(t, k).Versions) != 0 {
					t.Error("the dropped bucket is back")
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			check := step(t, open(t, fs))
			afterCrash(t, fs, check)
		})
	}
}

// The power is cut before every single file operation of a first start and an adoption. The next start
// always succeeds, and once the node has told its id, or its cluster, to anybody, it keeps them.
func TestCrashDuringFirstOpen(t *testing.T) {
	for _, percent := range []int{0, 50} {
		mem := vfs.NewCrashableMem()
		rng := rand.New(rand.NewPCG(uint64(percent), 2))
		type moment struct {
			fs      *vfs.MemFS
			id      NodeID // zero: not told yet
			adopted bool
		}
		var mu sync.Mutex // operations come from Pebble's goroutines too
		var moments []moment
		var now moment
		s := open(t, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				mu.Lock()
				defer mu.Unlock()
				m := now
				m.fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
				moments = append(moments, m)
			}
			return nil
		})))
		tell := func(change func()) {
			mu.Lock()
			defer mu.Unlock()
			change()
		}
		tell(func() { now.id = s.Identity().NodeID })
		must(t, s.Adopt(node(3), "birds"))
		tell(func() { now.adopted = true })
		s.put(t, key("a", ""), s.write("x"))
		mustClose(t, s)
		for i, m := range moments {
			re, err := tryOpen(m.fs)
			if err != nil {
				t.Fatalf("moment %d of %d: %v", i, len(moments), err)
			}
			id := re.Identity()
			if m.id != (NodeID{}) && id.NodeID != m.id || m.adopted && id.ClusterID != node(3) {
				t.Fatalf("moment %d of %d: %+v", i, len(moments), id)
			}
			mustClose(t, re)
		}
	}
}

// While writers write, the power is cut again and again: what was acknowledged before each cut is there, and
// what a reader had seen.
func TestCrashUnderLoad(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	const writers = 8
	var mu sync.Mutex
	acknowledged := map[string]causal.Dot{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range 40 {
				k := key(fmt.Sprint(w), fmt.Sprint(i))
				r, c, err := s.Put(context.Background(), Put{Key: k, Write: s.write("v"), Sync: true})
				if err == nil && i%2 == 0 {
					err = c.Wait(context.Background())
				} else if err == nil {
					// A reader that sees it may rely on it, as much as the writer.
					_, err = s.Get(context.Background(), k)
				}
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				mu.Lock()
				acknowledged[string(AppendKey(nil, k))] = r.Version.Dot
				mu.Unlock()
			}
		})
	}
	for round := range 6 {
		mu.Lock()
		want := map[string]causal.Dot{}
		for k, d := range acknowledged {
			want[k] = d
		}
		mu.Unlock()
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 30 * (round % 2), RNG: rand.New(rand.NewPCG(uint64(round), 1))})
		re := open(t, clone)
		for k, d := range want {
			at, err := DecodeKey([]byte(k))
			must(t, err)
			if vs := re.get(t, at).Versions; len(vs) != 1 || vs[0].Dot != d {
				t.Fatalf("round %d: %q lost: %+v", round, k, vs)
			}
		}
		mustClose(t, re)
	}
	wg.Wait()
}
