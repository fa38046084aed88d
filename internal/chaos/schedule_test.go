package chaos

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

var allKinds = []Kind{Kill, Pause, Cut, OneWay, SyncError, SyncDelay, DiskFull, RestartAll}

func plan(seed uint64, d time.Duration) Plan {
	return Plan{Seed: seed, Duration: d, Nodes: 5, Kinds: allKinds, MinGap: 5 * time.Second, MaxGap: 10 * time.Second}
}

func TestScheduleIsAFunctionOfItsPlan(t *testing.T) {
	a, b := Schedule(plan(1, 10*time.Minute)), Schedule(plan(1, 10*time.Minute))
	if !reflect.DeepEqual(a, b) {
		t.Error("two schedules of one plan differ")
	}
	if reflect.DeepEqual(a, Schedule(plan(2, 10*time.Minute))) {
		t.Error("the schedules of two seeds are the same")
	}
}

// TestSchedule holds the schedules of many seeds to what is promised of them.
func TestSchedule(t *testing.T) {
	for seed := range uint64(200) {
		p := plan(seed, 10*time.Minute)
		events := Schedule(p)
		if len(events) < 60 || len(events) > 120 {
			t.Fatalf("seed %d: %d faults in %v", seed, len(events), p.Duration)
		}
		count := make(map[Kind]int)
		before := time.Duration(0)
		busy := make(map[int]time.Duration)
		for i, e := range events {
			count[e.Kind]++
			if gap := e.At - before; gap < p.MinGap || gap > p.MaxGap {
				t.Errorf("seed %d: %v begins %v after the one before", seed, e, gap)
			}
			before = e.At
			if e.Index != i || e.For < shortest || e.At+e.For > p.Duration {
				t.Errorf("seed %d: fault %d, %v: number %d, lasts %v of %v", seed, i, e, e.Index, e.For, p.Duration)
			}
			checkAim(t, seed, e, busy)
		}
		for _, k := range allKinds {
			if count[k] < len(events)/len(allKinds) {
				t.Errorf("seed %d: %d of %d faults are %q", seed, count[k], len(events), k)
			}
		}
	}
}

func checkAim(t *testing.T, seed uint64, e Event, busy map[int]time.Duration) {
	t.Helper()
	links := make(map[Link]bool)
	for _, l := range e.Links {
		if l.From == l.To || links[l] {
			t.Errorf("seed %d: %v cuts %v", seed, e, l)
		}
		links[l] = true
	}
	for l := range links {
		if both := links[Link{l.To, l.From}]; both != (e.Kind == Cut) {
			t.Errorf("seed %d: %v: both directions of %v: %t", seed, e, l, both)
		}
	}
	switch e.Kind {
	case RestartAll:
		if len(e.Nodes) != 5 {
			t.Errorf("seed %d: %v", seed, e)
		}
	case Cut, OneWay:
		if len(e.Links) == 0 {
			t.Errorf("seed %d: %v cuts nothing", seed, e)
		}
	default:
		if len(e.Nodes) != 1 || busy[e.Nodes[0]] > e.At {
			t.Errorf("seed %d: %v at %v hits a node that has another fault until %v", seed, e, e.At, busy[e.Nodes[0]])
		}
		busy[e.Nodes[0]] = e.At + e.For
	}
}

func TestScheduleOfNothing(t *testing.T) {
	if events := Schedule(plan(1, time.Second)); len(events) != 0 {
		t.Errorf("%d faults in a second", len(events))
	}
	p := plan(1, time.Minute)
	p.Kinds = nil
	if events := Schedule(p); len(events) != 0 {
		t.Errorf("%d faults of no kind", len(events))
	}
}

func TestEventString(t *testing.T) {
	for _, c := range []struct {
		e    Event
		want string
	}{
		{Event{Kind: Kill, Nodes: []int{2}}, "kill -9 n3"},
		{Event{Kind: Cut, Nodes: []int{0}, Links: []Link{{0, 1}, {1, 0}}}, "cut 1-2"},
		{Event{Kind: OneWay, Nodes: []int{0}, Links: []Link{{0, 1}, {0, 2}}}, "one-way cut 1>2 1>3"},
		{Event{Kind: SyncDelay, Nodes: []int{4}, Delay: time.Second}, "fsync delay n5 of 1s"},
		{Event{Kind: DiskFull, Nodes: []int{4}, Room: 8 << 20}, "full disk n5 but for 8192 KiB"},
	} {
		if got := c.e.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// At most one copy of an item is spoiled at a time, and all kinds come up all the same.
func TestSpoiledDisksKeepApart(t *testing.T) {
	for seed := range uint64(200) {
		p := plan(seed, 10*time.Minute)
		p.Kinds = append(slices.Clone(allKinds), OldDisk, Rot)
		events := Schedule(p)
		if len(events) < 50 {
			t.Fatalf("seed %d: %d faults in %v", seed, len(events), p.Duration)
		}
		sound := time.Duration(0)
		count := make(map[Kind]int)
		for _, e := range events {
			count[e.Kind]++
			if !spoiling[e.Kind] {
				continue
			}
			if e.At < sound {
				t.Errorf("seed %d: %v begins at %v, and %v is when copies are good again", seed, e, e.At, sound)
			}
			sound = e.At + e.For + apart
		}
		for _, k := range p.Kinds {
			if count[k] < len(events)/len(p.Kinds)-1 {
				t.Errorf("seed %d: %d of %d faults are %q", seed, count[k], len(events), k)
			}
		}
	}
}
