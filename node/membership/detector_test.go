package membership

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/starling-db/starling/ring"
)

// fakeClock is moved by hand.
type fakeClock struct{ at atomic.Int64 }

func (c *fakeClock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *fakeClock) advance(d time.Duration) { c.at.Add(int64(d)) }

// tick moves the clock in steps that are no stall.
func (c *fakeClock) tick(d *Detector, by time.Duration) {
	for by > 0 {
		step := min(by, 100*time.Millisecond)
		c.advance(step)
		d.Tick()
		by -= step
	}
}

func newDetector() (*Detector, *fakeClock) {
	clock := &fakeClock{}
	clock.advance(time.Hour)
	d := NewDetector(DetectorOptions{Self: nodeID(0), Now: clock.now, Rand: rand.New(rand.NewPCG(3, 4))})
	clock.tick(d, time.Second)
	return d, clock
}

func want(t *testing.T, d *Detector, id ring.NodeID, state State, when string) {
	t.Helper()
	if got := d.State(id); got != state {
		t.Fatalf("%s: %s, want %s", when, got, state)
	}
}

func TestStrangersAreDeadAndSelfIsAlive(t *testing.T) {
	d, _ := newDetector()
	want(t, d, nodeID(0), Alive, "self")
	want(t, d, nodeID(9), Dead, "a stranger")
	d.Report(nodeID(9), OK, 0)
	want(t, d, nodeID(9), Dead, "a stranger that answers, whom gossip does not know")
}

func TestRefusedConnectionSuspectsAtOnce(t *testing.T) {
	d, clock := newDetector()
	id := nodeID(1)
	var seen []Change
	d.Subscribe(func(c Change) { seen = append(seen, c) })
	d.GossipAlive(id)
	d.Report(id, Unreachable, 0)
	want(t, d, id, Suspect, "after a refused connection")
	d.GossipAlive(id)
	want(t, d, id, Suspect, "gossip's word does not mend our own link")
	if len(d.Trials()) != 0 {
		t.Error("tried again at once")
	}
	clock.tick(d, 250*time.Millisecond)
	if got := d.Trials(); !slices.Equal(got, []ring.NodeID{id}) {
		t.Fatalf("trials after the backoff: %v", got)
	}
	if len(d.Trials()) != 0 {
		t.Error("two trials at a time")
	}
	d.Report(id, OK, time.Millisecond)
	want(t, d, id, Alive, "after a good trial")
	if len(seen) != 3 || !seen[0].Up() || !seen[1].Down() || !seen[2].Up() {
		t.Errorf("changes: %+v", seen)
	}
}

func TestTimeoutsSuspectTheSecondTime(t *testing.T) {
	d, _ := newDetector()
	id := nodeID(1)
	d.GossipAlive(id)
	d.Report(id, Timeout, 0)
	d.Report(id, OK, 0)
	d.Report(id, Timeout, 0)
	want(t, d, id, Alive, "after timeouts that were not in a row")
	d.Report(id, Timeout, 0)
	want(t, d, id, Suspect, "after two timeouts in a row")
}

func TestTrialsBackOff(t *testing.T) {
	d, clock := newDetector()
	id := nodeID(1)
	d.GossipAlive(id)
	d.Report(id, Unreachable, 0)
	last := clock.now()
	for i, base := range []time.Duration{200, 400, 800, 1600, 2000, 2000} {
		base *= time.Millisecond
		for len(d.Trials()) == 0 {
			clock.tick(d, 10*time.Millisecond)
		}
		if pause := clock.now().Sub(last); pause < base*3/4 || pause > base*5/4+10*time.Millisecond {
			t.Errorf("trial %d after %s, want about %s", i, pause, base)
		}
		last = clock.now()
		d.Report(id, Unreachable, 0)
	}
}

func TestGossipsVerdictStands(t *testing.T) {
	d, _ := newDetector()
	id := nodeID(1)
	d.GossipAlive(id)
	d.GossipDead(id)
	want(t, d, id, Dead, "lost by gossip")
	d.Report(id, OK, 0)
	want(t, d, id, Dead, "a late answer")
	d.GossipAlive(id)
	want(t, d, id, Alive, "found again")
	d.Report(id, Unreachable, 0)
	d.GossipDead(id)
	want(t, d, id, Dead, "a suspect that died")
	d.GossipAlive(id)
	want(t, d, id, Alive, "a restart clears the suspicion")
	d.GossipLeft(id)
	want(t, d, id, Left, "after a goodbye")
	d.Forget(id)
	want(t, d, id, Dead, "forgotten")
}

func TestOwnStallHoldsVerdicts(t *testing.T) {
	d, clock := newDetector()
	heard, silent := nodeID(1), nodeID(2)
	d.GossipAlive(heard)
	d.GossipAlive(silent)
	clock.advance(30 * time.Second) // SIGSTOP; no tick comes
	for range 3 {
		d.Report(heard, Timeout, 0)
		d.Report(heard, Unreachable, 0)
	}
	d.GossipDead(heard)
	d.GossipDead(silent)
	want(t, d, heard, Alive, "right after the stall")
	want(t, d, silent, Alive, "right after the stall")
	if d.Stalls() != 1 {
		t.Errorf("%d stalls counted", d.Stalls())
	}
	clock.tick(d, time.Second)
	d.GossipAlive(heard)
	clock.tick(d, 5*time.Second)
	want(t, d, heard, Alive, "heard of in the grace period")
	want(t, d, silent, Dead, "not heard of in the grace period")
	d.GossipDead(heard)
	want(t, d, heard, Dead, "a verdict after the grace period")
}

func TestTrialDuringGraceIsRepeated(t *testing.T) {
	d, clock := newDetector()
	id := nodeID(1)
	d.GossipAlive(id)
	d.Report(id, Unreachable, 0)
	clock.advance(10 * time.Second)
	d.Tick()
	if len(d.Trials()) != 1 {
		t.Fatal("no trial")
	}
	d.Report(id, Timeout, 0)
	clock.tick(d, time.Second)
	if len(d.Trials()) != 1 {
		t.Error("a trial that failed in the grace period was the last")
	}
}

// model is the detector's rule book in its plainest form.
type model struct {
	swim     State
	suspect  bool
	timeouts int
}

func (m *model) state() State {
	if m.swim == Alive && m.suspect {
		return Suspect
	}
	return m.swim
}

func (m *model) step(event int) {
	switch event {
	case 0:
		if m.swim != Alive {
			m.suspect, m.timeouts = false, 0
		}
		m.swim = Alive
	case 1, 2:
		if m.swim != Dead || event == 1 {
			m.swim = map[int]State{1: Dead, 2: Left}[event]
		}
		m.suspect, m.timeouts = false, 0
	case 3:
		m.suspect, m.timeouts = false, 0
	case 4:
		m.suspect = m.suspect || m.swim == Alive
	case 5:
		if m.timeouts++; m.timeouts >= 2 {
			m.suspect = m.suspect || m.swim == Alive
		}
	}
}

func TestDetectorFollowsItsModel(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		d, clock := newDetector()
		var changes []Change
		d.Subscribe(func(c Change) { changes = append(changes, c) })
		models := make([]model, 4)
		for i := range models {
			d.GossipAlive(nodeID(i + 1))
			models[i].swim = Alive
		}
		for step := range 300 {
			i, event := rnd.IntN(len(models)), rnd.IntN(6)
			if event == 2 && models[i].swim == Dead {
				continue // gossip never says that of the dead
			}
			id := nodeID(i + 1)
			models[i].step(event)
			[]func(){
				func() { d.GossipAlive(id) },
				func() { d.GossipDead(id) },
				func() { d.GossipLeft(id) },
				func() { d.Report(id, OK, time.Millisecond) },
				func() { d.Report(id, Unreachable, 0) },
				func() { d.Report(id, Timeout, 0) },
			}[event]()
			for j := range models {
				if got := d.State(nodeID(j + 1)); got != models[j].state() {
					t.Fatalf("seed %d step %d event %d: %s, model says %s", seed, step, event, got, models[j].state())
				}
			}
			clock.tick(d, time.Duration(rnd.IntN(300))*time.Millisecond)
			d.Trials()
		}
		checkChain(t, changes)
	}
}

// checkChain checks that each node's changes follow on from one another.
func checkChain(t *testing.T, changes []Change) {
	t.Helper()
	last := map[ring.NodeID]State{}
	for _, c := range changes {
		if c.From != last[c.Node] || c.To == c.From {
			t.Fatalf("%s went from %s to %s, was %s", c.Node, c.From, c.To, last[c.Node])
		}
		last[c.Node] = c.To
	}
}

func TestChangesAreDeliveredInOrder(t *testing.T) {
	d, _ := newDetector()
	id := nodeID(1)
	var changes []Change // the detector delivers one at a time
	d.Subscribe(func(c Change) {
		changes = append(changes, c)
		d.State(id)
		d.Report(id, OK, 0) // a subscriber may come back
	})
	d.GossipAlive(id)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				d.Report(id, Outcome(i%2), time.Millisecond)
			}
		})
	}
	wg.Wait()
	checkChain(t, changes)
	if len(changes) < 3 {
		t.Errorf("%d changes", len(changes))
	}
}

func TestLatencies(t *testing.T) {
	d, _ := newDetector()
	id := nodeID(1)
	d.GossipAlive(id)
	if d.Latency(id) != 0 || d.LatencyP95(id) != 0 || d.Latency(nodeID(7)) != 0 || d.LatencyP95(nodeID(7)) != 0 {
		t.Error("latency of nothing")
	}
	for i := range 640 {
		d.Report(id, OK, time.Duration(i%100+1)*time.Millisecond)
	}
	// The last 64 are 77..100 and 1..40 ms: the 61st in order is 97 ms.
	if got := d.LatencyP95(id); got != 97*time.Millisecond {
		t.Errorf("p95 %s", got)
	}
	for range 100 {
		d.Report(id, OK, 10*time.Millisecond)
	}
	if got := d.Latency(id); got < 9900*time.Microsecond || got > 10100*time.Microsecond {
		t.Errorf("smoothed %s", got)
	}
	d.Report(id, OK, -time.Second)
	if d.Latency(id) <= 0 {
		t.Error("a clock set back made the latency unknown")
	}
}

func TestRunTriesSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDetector(DetectorOptions{Rand: rand.New(rand.NewPCG(1, 1))})
		id := nodeID(1)
		d.GossipAlive(id)
		var pings atomic.Int32
		var dead atomic.Bool
		dead.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.Run(ctx, func(ctx context.Context, _ ring.NodeID) (Outcome, time.Duration) {
				pings.Add(1)
				if dead.Load() {
					<-ctx.Done()
					return Timeout, 0
				}
				return OK, time.Millisecond
			})
		}()
		d.Report(id, Unreachable, 0)
		time.Sleep(10 * time.Second)
		want(t, d, id, Suspect, "while its trials time out")
		if n := pings.Load(); n < 3 || n > 10 {
			t.Errorf("%d trials in 10 s", n)
		}
		dead.Store(false)
		time.Sleep(4 * time.Second)
		want(t, d, id, Alive, "once a trial succeeds")
		if d.Stalls() != 0 {
			t.Errorf("%d stalls", d.Stalls())
		}
		cancel()
		<-done
	})
}

func BenchmarkState(b *testing.B) {
	d, _ := newDetector()
	for i := range 100 {
		d.GossipAlive(nodeID(i + 1))
	}
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			_ = d.State(nodeID(i%100 + 1))
		}
	})
}

func TestSlowNodeIsAvoidedThoughItAnswers(t *testing.T) {
	d, clock := newDetector()
	id := nodeID(1)
	d.GossipAlive(id)
	late := func() {
		d.Report(id, Timeout, 0)
		clock.tick(d, 200*time.Millisecond)
		d.Report(id, OK, 300*time.Millisecond)
	}
	late()
	late()
	want(t, d, id, Suspect, "after two late answers")
	if !d.Answering(id) {
		t.Error("slow, but not answering")
	}
	var avoided, used time.Duration
	for range 600 { // a minute of pings that go well and writes that are late
		for _, due := range d.Trials() {
			d.Report(due, OK, time.Millisecond)
		}
		if d.Up(id) {
			used += 400 * time.Millisecond
			late()
			late()
			continue
		}
		avoided += 100 * time.Millisecond
		clock.tick(d, 100*time.Millisecond)
	}
	if avoided < 3*used {
		t.Errorf("used for %s, avoided for %s", used, avoided)
	}
}

func TestFarNodeComesBack(t *testing.T) {
	d, clock := newDetector()
	id := nodeID(1)
	d.GossipAlive(id)
	d.Report(id, Unreachable, 0)
	clock.tick(d, time.Second)
	for _, due := range d.Trials() {
		d.Report(due, OK, 250*time.Millisecond)
	}
	want(t, d, id, Alive, "after a trial that took its time")
}

func TestAnswering(t *testing.T) {
	d, clock := newDetector()
	id := nodeID(1)
	if d.Answering(id) || !d.Answering(nodeID(0)) {
		t.Error("a stranger answers, or self does not")
	}
	d.GossipAlive(id)
	if d.Answering(id) {
		t.Error("answering before it was asked")
	}
	d.Report(id, OK, time.Millisecond)
	if !d.Answering(id) {
		t.Error("not answering after an answer")
	}
	clock.tick(d, 3*time.Second)
	if d.Answering(id) {
		t.Error("still answering after 3 s of silence")
	}
	for _, end := range []func(){
		func() { d.Report(id, Unreachable, 0) },
		func() { d.GossipDead(id) },
	} {
		d.GossipAlive(id)
		d.Report(id, OK, time.Millisecond)
		end()
		if d.Answering(id) {
			t.Error("answering after the end")
		}
	}
}
