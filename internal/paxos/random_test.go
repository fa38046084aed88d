package paxos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
)

var seedsFlag = flag.Uint64("seeds", enough, "how many random runs")

// enough seeds come upon everything that TestRandom counts.
const enough = 300

// The random world: five nodes decide one instance after another, three of them propose. An acceptor handles requests
// while earlier records wait for their sync, and a crash syncs some of those and loses the rest, with all replies that
// waited. Messages are lost, doubled and come in any order; nodes fall behind and are taught.

const (
	runNodes     = 5
	runProposers = 3
	runSteps     = 2000
	runMessages  = 200 // on their way: beyond that none comes twice
)

type runNode struct {
	a      *Acceptor
	p      *Proposer // nil if none runs
	disk   []byte    // the record; nil if none was synced
	known  uint64    // on disk: the last instance that it knows to be decided,
	last   string    // and how
	queued []pending
}

// pending is a record on its way to disk, with the reply that waits for it.
type pending struct {
	record *Record
	m      runMessage
}

// runMessage is a request, a reply, or a lesson.
type runMessage struct {
	request
	reply  *Reply
	from   int
	p      *Proposer // who asked: a reply goes to nobody else
	lesson bool      // the instance was decided, with this value
}

// run is one random run.
type run struct {
	t        *testing.T
	rules    rules
	rng      *rand.Rand
	odds     odds
	nodes    [runNodes]runNode
	messages []runMessage
	votes    map[string]int // how many have accepted a value at a ballot
	voted    map[string]bool
	chosen   map[uint64]runChoice
	learners map[uint64]*Learner
	values   int
	stats    runStats
	problem  string
}

// odds are drawn for each run, so that runs differ in what goes wrong most.
type odds struct {
	crash, teach, propose, sync int // of 1000 steps; in the others a message is delivered
	lost, again                 int // of 100 messages
	deaf                        int // the node that is taught nothing, if there is such a node
}

func drawOdds(rng *rand.Rand) odds {
	return odds{
		crash: rng.IntN(40), teach: rng.IntN(20), propose: 10 + rng.IntN(100), sync: 100 + rng.IntN(300),
		lost: rng.IntN(50), again: rng.IntN(50), deaf: rng.IntN(2 * runNodes),
	}
}

type runChoice struct {
	ballot Ballot
	value  string
}

type runStats struct {
	Crashes, LostWrites, Refusals, Preempted, Foreign, Own, Taught, Behind, Past, Decided, Learnt int
}

func newRun(t *testing.T, r rules, seed uint64) *run {
	w := &run{
		t: t, rules: r, rng: rand.New(rand.NewPCG(seed, 71)), votes: map[string]int{}, voted: map[string]bool{},
		chosen: map[uint64]runChoice{}, learners: map[uint64]*Learner{},
	}
	w.odds = drawOdds(w.rng)
	for i := range w.nodes {
		w.start(i)
	}
	return w
}

func (w *run) fail(format string, args ...any) {
	if w.problem == "" {
		w.problem = fmt.Sprintf(format, args...)
	}
}

// start is a node's start from disk.
func (w *run) start(i int) {
	n := &w.nodes[i]
	var record Record
	if n.disk != nil {
		var err error
		if record, err = DecodeRecord(n.disk); err != nil {
			w.t.Fatal(err)
		}
	}
	var err error
	if n.a, err = NewAcceptor(testNode(i), testInstance(w.t, n.known+1, runNodes), []byte(n.last), w.rules.restarted(record)); err != nil {
		w.t.Fatal(err)
	}
	n.p, n.queued = nil, nil
}

func (w *run) crash(i int) {
	n := &w.nodes[i]
	w.stats.Crashes++
	for k := w.rng.IntN(len(n.queued) + 1); k > 0; k-- {
		w.sync(i, false)
	}
	w.stats.LostWrites += len(n.queued)
	w.start(i)
}

// sync brings the first record that waits to disk, and lets its reply leave.
func (w *run) sync(i int, reply bool) {
	n := &w.nodes[i]
	first := n.queued[0]
	n.queued = n.queued[1:]
	n.disk = AppendRecord(nil, *first.record)
	if first.m.reply.Kind == Accepted {
		w.vote(i, first.m)
	}
	if reply {
		w.messages = append(w.messages, first.m)
	}
}

// vote takes down an acceptance.
func (w *run) vote(i int, m runMessage) {
	cast := fmt.Sprint(m.instance, m.ballot, m.value)
	if by := fmt.Sprint(i, cast); w.voted[by] {
		return
	} else {
		w.voted[by] = true
	}
	w.votes[cast]++
	c, already := w.chosen[m.instance]
	switch {
	case already && m.value != c.value && (m.ballot.Compare(c.ballot) >= 0 || w.votes[cast] > runNodes/2):
		w.fail("instance %d: %q was chosen at %v, and %d accepts %q at %v", m.instance, c.value, c.ballot, i, m.value, m.ballot)
	case !already && w.votes[cast] > runNodes/2:
		w.chosen[m.instance] = runChoice{m.ballot, m.value}
	}
}

// claim is somebody's word that a value was chosen.
func (w *run) claim(who string, instance uint64, value string) {
	if c, ok := w.chosen[instance]; !ok || c.value != value {
		w.fail("instance %d: %s says %q was chosen, it was %+v", instance, who, value, c)
	}
}

func (w *run) deliver(m runMessage) {
	switch {
	case m.lesson:
		w.learn(m.to, m.instance, m.value)
	case m.reply != nil:
		w.hear(m)
	default:
		w.ask(m)
	}
}

func (w *run) ask(m runMessage) {
	n := &w.nodes[m.to]
	reply, record, err := w.rules.ask(n.a, m.request)
	if err != nil {
		return // told of in tests of their own; here only weakened rules come to it
	}
	m.reply, m.from = &reply, m.to
	switch reply.Kind {
	case Refused:
		w.stats.Refusals++
	case Decided:
		w.stats.Decided++
	case Past:
		w.stats.Past++
	case Behind:
		w.stats.Behind++
	}
	if record != nil {
		n.queued = append(n.queued, pending{record, m})
	}
	if record == nil || !w.rules.PersistFirst {
		w.messages = append(w.messages, m)
	}
	if record != nil && !w.rules.PersistFirst && reply.Kind == Accepted {
		w.vote(m.to, m)
	}
}

func (w *run) hear(m runMessage) {
	if m.reply.Kind == Accepted {
		l := w.learners[m.instance]
		if l == nil {
			l = NewLearner(m.p.in)
			w.learners[m.instance] = l
		}
		if value, ok := l.Accepted(testNode(m.from), m.ballot, []byte(m.value)); ok {
			w.stats.Learnt++
			w.claim("a learner", m.instance, string(value))
		}
	}
	for i := range w.nodes {
		if n := &w.nodes[i]; n.p != nil && n.p == m.p {
			w.act(i, w.rules.tell(n.p, testNode(m.from), *m.reply))
		}
	}
}

// act does what a proposer asks for.
func (w *run) act(i int, s Step) {
	n := &w.nodes[i]
	switch s.Do {
	case Prepare, Accept:
		for _, id := range s.To {
			m := runMessage{p: n.p}
			m.request = w.rules.request(n.p, s, n.p.in.place(id))
			w.messages = append(w.messages, m)
		}
	case Teach:
		w.stats.Taught++
		w.teach(i, n.p.in.place(s.To[0]))
	case BackOff:
		if !s.Ballot.IsZero() {
			w.stats.Preempted++
		}
	case Chosen:
		if s.Own {
			w.stats.Own++
		} else {
			w.stats.Foreign++
		}
		w.claim("a proposer", n.p.in.number, string(s.Value))
		w.learn(i, n.p.in.number, string(s.Value))
		for to := range w.nodes {
			w.teach(i, to)
		}
	case Outdated:
		n.p = nil
	}
}

// teach sends a node what another knows.
func (w *run) teach(from, to int) {
	if n := &w.nodes[from]; n.known > 0 {
		w.messages = append(w.messages, runMessage{lesson: true, request: request{to: to, instance: n.known, value: n.last}})
	}
}

func (w *run) learn(i int, instance uint64, value string) {
	w.claim("a lesson", instance, value)
	n := &w.nodes[i]
	if instance > n.known {
		n.known, n.last = instance, value
		n.a.Decided(testInstance(w.t, instance+1, runNodes), []byte(value))
	}
	if n.p != nil && n.p.in.number <= n.known {
		n.p = nil
	}
}

// propose has a node begin an attempt, with a new proposer if it has none.
func (w *run) propose(i int) {
	n := &w.nodes[i]
	if n.p == nil {
		var err error
		w.values++
		if n.p, err = NewProposer(testNode(i), n.a.Open(), fmt.Appendf(nil, "v%d", w.values)); err != nil {
			w.t.Fatal(err)
		}
	}
	w.act(i, n.p.Timeout())
	w.act(i, w.rules.start(n.p))
}

func (w *run) step() {
	i, dice := w.rng.IntN(runNodes), w.rng.IntN(1000)
	below := func(share int) bool {
		dice -= share
		return dice < 0
	}
	switch {
	case below(w.odds.crash):
		w.crash(i)
	case below(w.odds.teach):
		w.teach(i, w.rng.IntN(runNodes))
	case below(w.odds.propose):
		w.propose(i % runProposers)
	case below(w.odds.sync):
		if len(w.nodes[i].queued) > 0 {
			w.sync(i, true)
		}
	case len(w.messages) > 0:
		k := w.rng.IntN(len(w.messages))
		m := w.messages[k]
		if w.rng.IntN(100) >= w.odds.again || len(w.messages) > runMessages {
			w.messages[k] = w.messages[len(w.messages)-1]
			w.messages = w.messages[:len(w.messages)-1]
		}
		if w.rng.IntN(100) >= w.odds.lost && !(m.lesson && m.to == w.odds.deaf) {
			w.deliver(m)
		}
	}
}

// calm delivers everything there is and syncs everything that waits, in order.
func (w *run) calm() {
	for busy := true; busy && w.problem == ""; {
		busy = len(w.messages) > 0
		if busy {
			m := w.messages[0]
			w.messages = w.messages[1:]
			w.deliver(m)
		}
		for i := range w.nodes {
			for len(w.nodes[i].queued) > 0 {
				w.sync(i, true)
				busy = true
			}
		}
	}
}
