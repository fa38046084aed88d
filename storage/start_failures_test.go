package storage

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

// A key is deleted, and written again under a clock that was set back. The new value stands in every order of arrival: it
// stands on what its writer's copy had seen, and the clock rises above that. Where the clock is too far behind to do so
// the write is refused, instead of being taken and lost to the tombstone.
func TestKeyMadeAnewUnderAnOlderClock(t *testing.T) {
	for name, policy := range map[string]causal.Policy{"siblings": causal.Siblings, "lww": causal.LastWriteWins} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, fs)
			k := key("a", "")
			try := func(w causal.Write) (causal.State, error) {
				r, c, err := s.Put(t.Context(), Put{Key: k, Policy: policy, Write: w, Sync: true})
				if err != nil {
					return causal.State{}, err
				}
				return r.State, c.Wait(t.Context())
			}
			put := func(w causal.Write) causal.State {
				t.Helper()
				state, err := try(w)
				must(t, err)
				return state
			}
			value := put(s.write("old"))
			remove := s.write("")
			remove.Tombstone, remove.Context = true, value.Context()
			tomb := put(remove)
			mustClose(t, s)

			s = open(t, fs)
			back := func(d time.Duration) { // a clock that knows no bound of earlier runs: the record alone must do
				s.time.ms.Store(start - d.Milliseconds())
				clock := causal.NewClock(s.time.now, 500*time.Millisecond, 0)
				clock.Raise(causal.MaxHLC)
				s.Store.clock.Store(clock)
			}
			back(24 * time.Hour)
			if _, err := try(s.write("lost")); !errors.Is(err, causal.ErrClockOffset) {
				t.Fatalf("a write under a clock that is a day behind the item: %v", err)
			}
			wantValues(t, s.get(t, k), "")
			back(400 * time.Millisecond)
			anew := s.write("new")
			anew.Context = tomb.Context()
			made := put(anew)
			for _, order := range [][]causal.State{{value, tomb, made}, {made, tomb, value}, {tomb, made, value}} {
				var got causal.State
				for _, one := range order {
					got = causal.Merge(policy, got, one)
				}
				wantValues(t, got, "new")
			}
		})
	}
}

// The end of the log was torn by a power cut: part of the last write is there, and behind it whatever was on those blocks
// before. The store opens, holds everything in front of the tear, and takes writes.
func TestTornLog(t *testing.T) {
	for name, tear := range map[string]func(log []byte) []byte{
		"cut short":        func(log []byte) []byte { return log[:len(log)-40] },
		"cut in a header":  func(log []byte) []byte { return log[:len(log)-3] },
		"zeros at the end": func(log []byte) []byte { clear(log[len(log)-40:]); return log },
		"noise at the end": func(log []byte) []byte {
			for i := len(log) - 40; i < len(log); i++ {
				log[i] ^= 0xa5
			}
			return log
		},
	} {
		t.Run(name, func(t *testing.T) {
			running := vfs.NewCrashableMem()
			s := open(t, running)
			for i := range 10 {
				s.put(t, key(fmt.Sprint(i), ""), s.write("v"))
			}
			s.put(t, key("last", ""), s.write(strings.Repeat("v", 500)))
			fs := running.CrashClone(vfs.CrashCloneCfg{})
			rewrite(t, fs, lastLog(t, fs), tear)

			re := open(t, fs)
			for i := range 10 {
				wantValues(t, re.get(t, key(fmt.Sprint(i), "")), "v")
			}
			if n := len(re.get(t, key("last", "")).Versions); n != 0 {
				t.Errorf("the write that was torn has %d versions: the tear has missed it", n)
			}
			re.put(t, key("next", ""), re.write("w"))
			mustClose(t, re)
			wantValues(t, open(t, fs).get(t, key("next", "")), "w")
		})
	}
}

// lastLog is the newest of the logs.
func lastLog(t *testing.T, fs vfs.FS) string {
	t.Helper()
	dir := "/data/node/" + databaseIn
	names, err := fs.List(dir)
	must(t, err)
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".log") })
	if len(names) == 0 {
		t.Fatal("no log")
	}
	return path.Join(dir, slices.Max(names))
}

func rewrite(t *testing.T, fs vfs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	f, err := fs.Open(name)
	must(t, err)
	b, err := io.ReadAll(f)
	must(t, err)
	must(t, f.Close())
	g, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = g.Write(change(b))
	must(t, err)
	must(t, g.Sync())
	must(t, g.Close())
}
