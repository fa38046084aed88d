package transfer

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func id(i int) ring.NodeID { return ring.NodeID{0: byte(i), 15: byte(i)} }

func layout(t testing.TB, version uint64, partitions int, previous *ring.Layout, members ...int) *ring.Layout {
	t.Helper()
	in := ring.PlanInput{Partitions: partitions, Replicas: min(3, len(members)), Previous: previous, Version: version}
	for _, m := range members {
		in.Members = append(in.Members, ring.Member{ID: id(m), Zone: "z", Weight: 1})
	}
	l, err := ring.Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var majority = []ring.Quorums{{N: 3, R: 2, W: 2}}

// done marks all works as complete.
func done(works []Work) (marks []storage.Complete) {
	for _, w := range works {
		marks = append(marks, storage.Complete{Move: w.Move, Sources: w.Need})
	}
	return marks
}

// Node 4 takes the place of node 1: all partitions move, for those that stay too.
func TestPlan(t *testing.T) {
	v := layout(t, 1, 4, nil, 1, 2, 3)
	stable := ring.Genesis(v)
	joint := must[*ring.Epoch](t)(stable.Begin(layout(t, 2, 4, v, 2, 3, 4)))
	after := must[*ring.Epoch](t)(joint.Commit())
	aborted := must[*ring.Epoch](t)(joint.Abort())
	again := must[*ring.Epoch](t)(aborted.Begin(layout(t, 2, 4, v, 2, 3, 4)))
	newcomer := Plan(joint, id(4), majority, nil, 0)
	stays := Plan(joint, id(2), majority, nil, 0)
	for name, c := range map[string]struct {
		e        *ring.Epoch
		self     int
		quorums  []ring.Quorums
		complete []storage.Complete
		works    int
		need     int
		self2    bool
		sources  int
		standing Standing
	}{
		"nothing moves":           {stable, 1, majority, nil, 0, 0, false, 0, 0},
		"no buckets":              {joint, 4, nil, nil, 0, 0, false, 0, 0},
		"newcomer":                {joint, 4, majority, nil, 4, 2, false, 3, Arriving},
		"one that stays":          {joint, 2, majority, nil, 4, 2, true, 2, Vouching},
		"one that goes":           {joint, 1, majority, nil, 0, 0, false, 0, 0},
		"weak writes":             {joint, 4, []ring.Quorums{{N: 3, R: 3, W: 1}}, nil, 4, 3, false, 3, Arriving},
		"the most demanding":      {joint, 4, []ring.Quorums{{N: 3, R: 2, W: 2}, {N: 3, R: 3, W: 1}}, nil, 4, 3, false, 3, Arriving},
		"strong writes":           {joint, 4, []ring.Quorums{{N: 3, R: 1, W: 3}}, nil, 4, 1, false, 3, Arriving},
		"complete":                {joint, 4, majority, done(newcomer), 0, 0, false, 0, 0},
		"complete by too few":     {joint, 4, []ring.Quorums{{N: 3, R: 3, W: 1}}, done(newcomer), 4, 3, false, 3, Arriving},
		"complete, in part":       {joint, 4, majority, done(newcomer)[:3], 1, 2, false, 3, Arriving},
		"after the commit":        {after, 4, majority, nil, 4, 2, true, 2, Arriving},
		"complete, and committed": {after, 4, majority, done(newcomer), 0, 0, false, 0, 0},
		"given up":                {aborted, 4, majority, nil, 0, 0, false, 0, 0},
		"tried again":             {again, 4, majority, done(newcomer), 4, 2, false, 3, Arriving},
		"tried again, who stays":  {again, 2, majority, done(stays), 4, 2, true, 2, Vouching},
		"another N moves alike":   {joint, 4, []ring.Quorums{{N: 3, R: 2, W: 2}, {N: 7, R: 4, W: 4}}, nil, 8, 0, false, 3, Arriving},
	} {
		works := Plan(c.e, id(c.self), c.quorums, c.complete, 3)
		if len(works) != c.works {
			t.Errorf("%s: %d works, want %d", name, len(works), c.works)
		}
		for _, w := range works {
			if c.need > 0 && w.Need != c.need || w.Self != c.self2 || len(w.Sources) != c.sources || w.Standing != c.standing ||
				w.Changed != c.e.Changed(0, 3) || slices.Contains(w.Sources, id(c.self)) {
				t.Errorf("%s: %+v", name, w)
			}
		}
	}
	first := make(map[ring.NodeID]bool)
	for turn := range uint64(4) {
		works := Plan(joint, id(4), majority, nil, turn)
		if turn > 0 && works[0].Move == newcomer[0].Move {
			t.Error("all begin with the same range")
		}
		first[works[0].Sources[0]] = true
	}
	if len(first) < 2 {
		t.Error("all begin with the same source")
	}
}

// What was complete is so for all parts of a partition that is cut, and of parts the whole when none is missing.
func TestMarksOfParts(t *testing.T) {
	part := func(i, of uint64) storage.Move {
		size := uint64(1) << 63 / of * 2
		return storage.Move{First: i * size, Last: i*size + size - 1, N: 3, Origin: 5}
	}
	marks := func(moves ...storage.Move) (out []storage.Complete) {
		for _, m := range moves {
			out = append(out, storage.Complete{Move: m, Sources: 2})
		}
		return out
	}
	other := part(0, 2)
	other.Origin = 6
	for name, c := range map[string]struct {
		marks []storage.Complete
		move  storage.Move
		want  bool
	}{
		"itself":             {marks(part(1, 2)), part(1, 2), true},
		"a part":             {marks(part(1, 2)), part(3, 4), true},
		"the other half":     {marks(part(0, 2)), part(3, 4), false},
		"all parts":          {marks(part(3, 4), part(0, 2), part(2, 4)), storage.Move{Last: 1<<64 - 1, N: 3, Origin: 5}, true},
		"a hole":             {marks(part(3, 4), part(0, 2)), storage.Move{Last: 1<<64 - 1, N: 3, Origin: 5}, false},
		"the end is missing": {marks(part(0, 4), part(1, 4), part(2, 4)), part(1, 2), false},
		"another origin":     {marks(other), part(0, 2), false},
	} {
		if got := len(Places(c.marks, marks(c.move))) == 1; got != c.want {
			t.Errorf("%s: complete %v, want %v", name, got, c.want)
		}
	}
}

// A node drops what no layout gives it, once all owners have said that they are complete, and never what it owns.
func TestDropsAndFacts(t *testing.T) {
	v := layout(t, 1, 4, nil, 1, 2, 3)
	joint := must[*ring.Epoch](t)(ring.Genesis(v).Begin(layout(t, 2, 4, v, 2, 3, 4)))
	after := must[*ring.Epoch](t)(joint.Commit())
	has := func(r Range) bool { return r.Partition != 3 }
	if left := Left(joint, id(1), majority, has); len(left) != 0 {
		t.Errorf("%v may go while the move can still be given up", left)
	}
	if left := Left(ring.Genesis(v), id(9), majority, has); len(left) != 0 {
		t.Errorf("%v of what never had other owners", left)
	}
	if left := Left(after, id(2), majority, has); len(left) != 0 {
		t.Errorf("an owner would drop %v", left)
	}
	left := Left(after, id(1), majority, has)
	if len(left) != 3 {
		t.Fatalf("left %v, want the three partitions of which something is here", left)
	}
	known := NewKnown(after, majority)
	for n := 2; n <= 4; n++ {
		if got := Drops(after, id(1), majority, known.Facts(), has); len(got) != 0 {
			t.Fatalf("drops %v before node %d is complete", got, n)
		}
		asked := known.Questions(left)
		if len(asked) != 5-n || len(asked[id(n)]) != 3 {
			t.Fatalf("asks %v", asked)
		}
		known.Heard(id(n), 2, asked[id(n)], []int{0, 1, 2, 3, -1}) // two answers too many
	}
	if got := Drops(after, id(1), majority, known.Facts(), has); !slices.Equal(got, left) {
		t.Errorf("drops %v, want %v", got, left)
	}

	known = NewKnown(joint, majority)
	asked := known.Questions(nil)
	if _, old := asked[id(1)]; !old || len(asked) != 4 || len(asked[id(4)]) != 4 || asked[id(4)][0].Sources != 2 {
		t.Fatalf("asks %v", asked)
	}
	for n := 1; n <= 4; n++ {
		if blocked := joint.MayCommit(majority[0], known.Facts()); (len(blocked) == 0) != (n > 3) {
			t.Errorf("before node %d: %v", n, blocked)
		}
		complete := []int{0, 1, 2, 3}
		if n == 1 {
			complete = nil
		}
		known.Heard(id(n), 1, asked[id(n)], complete)
	}
}

func TestPick(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	fresh := func(change func(*job)) *job {
		j := &job{Work: Work{Need: 2, Sources: []ring.NodeID{id(1), id(2)}}, read: map[ring.NodeID]bool{}, avoid: map[ring.NodeID]time.Time{}}
		change(j)
		return j
	}
	for name, c := range map[string]struct {
		change func(*job)
		busy   map[ring.NodeID]bool
		out    map[ring.NodeID]outage
		down   int
		from   int
		wait   time.Duration
	}{
		"the first":          {from: 1, change: func(*job) {}},
		"the first is busy":  {from: 2, busy: map[ring.NodeID]bool{id(1): true}, change: func(*job) {}},
		"the first is down":  {from: 2, down: 1, change: func(*job) {}},
		"the first was read": {from: 2, change: func(j *job) { j.read[id(1)] = true }},
		"it failed":          {from: 2, out: map[ring.NodeID]outage{id(1): {until: at(1)}}, change: func(*job) {}},
		"it failed long ago": {from: 1, out: map[ring.NodeID]outage{id(1): {until: at(0)}}, change: func(*job) {}},
		"both failed": {
			wait: 2 * time.Second, out: map[ring.NodeID]outage{id(1): {until: at(3)}, id(2): {until: at(2)}}, change: func(*job) {},
		},
		"it is damaged": {from: 2, change: func(j *job) { j.avoid[id(1)] = at(1) }},
		"complete":      {change: func(j *job) { j.done = true }},
		"it runs":       {change: func(j *job) { j.running = true }},
		"it waits":      {wait: time.Second, change: func(j *job) { j.after = at(1) }},
	} {
		j, from, wait := pick([]*job{fresh(c.change)}, c.busy, c.out, func(n ring.NodeID) bool { return n != id(c.down) }, now)
		if (j != nil) != (c.from > 0) || c.from > 0 && from != id(c.from) || wait != c.wait {
			t.Errorf("%s: from %v after %v, want %d after %v", name, from, wait, c.from, c.wait)
		}
	}
	for times, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 5 * time.Second, 100: 5 * time.Second} {
		if got := backoff(time.Second, 5*time.Second, times); got != want {
			t.Errorf("after %d failures %v, want %v", times, got, want)
		}
	}
}
