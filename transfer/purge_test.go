package transfer

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// gone removes an item from sources as a purge would, with all that is left of it, and raises what they claim.
func (r *rig) gone(partition string, on ...int) {
	r.t.Helper()
	for _, i := range on {
		s := r.sources[id(i)]
		if err := s.Lose(r.t.Context(), itemOf(bucket, partition), false); err != nil {
			r.t.Fatal(err)
		}
		r.claim(s, r.hlc+1, r.hlc)
	}
}

func (r *rig) shows(partition string) bool {
	r.t.Helper()
	s, err := r.store.Get(r.t.Context(), itemOf(bucket, partition))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(s.Versions) > 0
}

// What was read of one source is deleted and purged everywhere before the next one is read: it does not stay, and it does not come
// back by a late message.
func TestPurgeDuringPull(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		old := r.put("deleted", 10, 1, 2, 3)
		r.put("kept", 10, 1, 2, 3)
		purged := false
		r.o.Pause = func(context.Context, int64) error {
			if !purged && r.shows("deleted") { // of the first source
				r.put("later", 10, 1, 2, 3)
				r.gone("deleted", 1, 2, 3)
				purged = true
			}
			return nil
		}
		r.pulled()
		if r.shows("deleted") {
			t.Fatal("what was deleted and purged is here")
		}
		if !r.shows("kept") || !r.shows("later") {
			t.Error("too much was dropped")
		}
		c := r.store.ClaimOf(3, 0)
		if c.PurgeLevel == 0 || c.Floor < c.PurgeLevel {
			t.Errorf("it claims %+v", c)
		}
		r.merge(r.store, "deleted", old) // a hint, or a write that was long under way
		if r.shows("deleted") {
			t.Error("what was purged came back by a late message")
		}
	})
}

// Those who have seen less than was purged are no proof: what they have is not taken, so one who has seen it must be read as well.
func TestSomebodyMustHaveSeen(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		r.claim(r.sources[id(3)], r.hlc, r.hlc)
		r.work.Sources = []ring.NodeID{id(3), id(1), id(2)}
		r.meddle = func(from ring.NodeID, _ *Page, err *error) {
			if from == id(3) && len(r.asked) > 1 {
				r.down[id(3)] = true
				*err = errors.New("connection lost")
			}
		}
		r.stuck(nil)
		r.meddle, r.down[id(3)] = nil, false
		r.pulled()
		r.has(3)
	})
	bubble(t, func(t *testing.T, r *rig) { // and if nobody has, they are read again until somebody does
		r.fill()
		r.claim(r.store, 0, r.hlc)
		r.stuck(errUnseen)
		r.claim(r.sources[id(2)], r.hlc, r.hlc)
		r.pulled()
		r.has(2)
	})
}

// A purge level that the own claim has lost in between makes all begin anew: what was let in meanwhile may have been deleted.
func TestLevelTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		early := "deleted" // in a part of the range that has been read by then
		for itemOf(bucket, early).Token > 1<<60 {
			early += "?"
		}
		old := r.put(early, 10)
		for i := 1; i <= 3; i++ {
			r.claim(r.sources[id(i)], r.hlc+1, r.hlc)
		}
		r.meddle = func(ring.NodeID, *Page, *error) {
			if len(r.asked) == 8 { // of the second source
				r.claim(r.store, 0, 0)
				r.merge(r.store, early, old)
			}
		}
		r.pulled()
		if r.shows(early) {
			t.Error("what was let in while nothing was known of purges has stayed")
		}
	})
}

// Data that vouches already and has seen less than was purged is older than it was once: that is for others to mend, and until
// then nothing is complete.
func TestVouchingDataIsFoundOld(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.put("a", 10, 1, 2, 3)
		r.work.Standing, r.work.Self = Vouching, true
		r.claim(r.store, 3, 0)
		for i := 1; i <= 3; i++ {
			r.claim(r.sources[id(i)], r.hlc+1, r.hlc)
		}
		r.stuck(ErrRebuilding)
		if len(r.heard) != 1 || !r.store.ClaimOf(3, 0).Rebuilding {
			t.Errorf("heard %v", r.heard)
		}
		r.claim(r.store, r.hlc, 0)
		r.pulled()
		if c := r.store.ClaimOf(3, 0); c.Floor != r.hlc {
			t.Errorf("its own claims go on, and it claims %+v", c)
		}
	})
}

// A source that claims less than when it was begun with is not what it was.
func TestSourceIsPutBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.fill()
		r.claim(r.sources[id(1)], 50, 0)
		r.meddle = func(from ring.NodeID, p *Page, _ *error) {
			if from == id(1) && len(r.asked) == 3 {
				p.Floor = 49
			}
		}
		r.pulled()
		if r.asked[3].After != nil {
			t.Errorf("it was gone on with: %+v", r.asked[3])
		}
	})
}

// The rate is held within a tenth, whatever the size of pages.
func TestThrottle(t *testing.T) {
	for _, size := range []int{100, 2 << 10, 300 << 10} {
		bubble(t, func(t *testing.T, r *rig) {
			r.fillWith(max(2<<20/size, 12), size)
			r.o.BytesPerSecond = 100 << 10
			began := time.Now()
			p := r.pulled()
			took, bytes := time.Since(began).Seconds(), float64(p.Progress().Bytes)
			if rate := bytes / took; rate < 90<<10 || rate > 110<<10 {
				t.Errorf("items of %d bytes: %.0f bytes a second, want %d", size, rate, r.o.BytesPerSecond)
			}
		})
	}
}

// BenchmarkPull reads 100,000 items of 1 KiB from one store into another.
func BenchmarkPull(b *testing.B) {
	r := newRig(b)
	r.fillWith(150_000, 1<<10)
	r.work.Need, r.o.SaveBytes = 1, 0
	b.SetBytes(100_000 << 10)
	for b.Loop() {
		r.pulled()
		b.StopTimer()
		first, last := storage.LeafOf(r.work.First), storage.LeafOf(r.work.Last)
		free := func(int) error { return nil }
		_, err := r.store.DropRange(b.Context(), []uint64{bucket}, first, last, func() bool { return true }, free)
		if err := errors.Join(err, r.store.ForgetMoves(b.Context(), r.work.Move)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
