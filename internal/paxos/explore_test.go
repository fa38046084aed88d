package paxos

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"
)

// The explored world: three acceptors, proposers at the first two, each with so many ballots and lives, a value of its
// own in each life. Messages are sets: what was sent once arrives at any time, any number of times, or never. A
// reply goes to the life that asked. A proposer may crash, or begin a new attempt, between any two messages.
//
// An acceptor handles a request, syncs and replies in one step. A crash before the sync is the message lost; one after
// it is the reply lost; a restart finds what was synced, and every record goes through its encoding. What a proposer
// hears of acceptances ends it or does nothing, so in each world it is tried on the side what it would say (checkSaid),
// and the walk goes on as if it had not heard.

// exploration bounds a walk.
type exploration struct {
	rules    rules
	counters uint64 // the highest that a proposer may begin an attempt at
	lives    [2]int // of each proposer
	plain    bool   // follow all that was ever sent, also what can't matter any more
}

const acceptorCount = 3

// set holds numbers below 448.
type set [7]uint64

func (s *set) add(i int)     { s[i/64] |= 1 << (i % 64) }
func (s *set) drop(i int)    { s[i/64] &^= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]>>(i%64)&1 == 1 }

func (s set) each(f func(i int)) {
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			f(64*w + bits.TrailingZeros64(word))
		}
	}
}

// table gives equal things one number.
type table[T any] struct {
	of   map[string]int
	list []T
}

func (t *table[T]) number(key string, thing T) int {
	if n, ok := t.of[key]; ok {
		return n
	}
	if t.of == nil {
		t.of = map[string]int{}
	}
	t.of[key] = len(t.list)
	t.list = append(t.list, thing)
	return len(t.list) - 1
}

// world is one state, all in numbers of tables.
type world struct {
	records   [acceptorCount]uint16 // on disk
	proposers [2]uint16
	sent      set // messages that may still matter
	votes     set // whatever was accepted, synced or replied, ever
}

// message is a request, or the reply to one.
type message struct {
	request
	reply     *Reply // nil in a request
	from      int    // the acceptor that replied
	who, life int    // the proposer that asked
}

// asker is a proposer in one of its lives.
type asker struct {
	p         *Proposer
	who, life int
}

// vote is an acceptance.
type vote struct {
	acceptor int
	ballot   Ballot
	value    string
}

type explorer struct {
	t *testing.T
	exploration
	in       Instance
	records  table[Record] // as decoded from disk
	askers   table[asker]
	messages table[message]
	cast     []vote
	asked    map[[3]int]answer // by acceptor, record and message
	told     map[[2]int]reaction
	born     map[[2]int]int // askers by who and life
	finished map[[acceptorCount]uint16]string
	seen     map[world]bool
	verdicts map[set]verdict
	path     []edge
	problem  string
	chosen   int // states in which a value is
}

// edge is how one world comes of another.
type edge struct {
	event           string
	who, from, what int
}

func (e *explorer) tell(s edge) string {
	about := ""
	if s.what >= 0 {
		m := e.messages.list[s.what]
		if about = fmt.Sprintf(" %v at %v %q", m.do, m.ballot.Counter, m.value); m.reply != nil {
			about += fmt.Sprintf(" from %d: %v %d by %v, accepted %d by %v, %q", m.from, m.reply.Kind, m.reply.Ballot.Counter, m.reply.Ballot.Node[0],
				m.reply.Accepted.Counter, m.reply.Accepted.Node[0], m.reply.Value)
		}
	}
	return fmt.Sprintf("%d %s%s", s.who, s.event, about)
}

type answer struct {
	record, reply, vote int // vote is -1 if nothing was accepted, reply if there was an error
}

type reaction struct {
	asker int
	sends []int
}

func explore(t *testing.T, x exploration) *explorer {
	e := &explorer{
		t: t, exploration: x, in: testInstance(t, 1, acceptorCount), asked: map[[3]int]answer{}, told: map[[2]int]reaction{}, born: map[[2]int]int{},
		finished: map[[acceptorCount]uint16]string{}, seen: map[world]bool{}, verdicts: map[set]verdict{},
	}
	e.records.number("", Record{})
	var w world
	for who := range w.proposers {
		w.proposers[who] = uint16(e.newLife(who, 0))
	}
	e.visit(w)
	return e
}

func (e *explorer) newLife(who, life int) int {
	if n, ok := e.born[[2]int{who, life}]; ok {
		return n
	}
	p, err := NewProposer(testNode(who), e.in, fmt.Appendf(nil, "%c", 'a'+2*who+life))
	if err != nil {
		e.t.Fatal(err)
	}
	n := e.numberAsker(asker{p: p, who: who, life: life})
	e.born[[2]int{who, life}] = n
	return n
}

func (e *explorer) numberAsker(a asker) int {
	return e.askers.number(fmt.Sprintf("%d %d %v", a.who, a.life, *a.p), a)
}

// number numbers votes such that those of all acceptors for one value at one ballot are in a row.
func (e *explorer) number(acceptor int, b Ballot, value string) int {
	for i := 0; i < len(e.cast); i += acceptorCount {
		if v := &e.cast[i]; v.ballot == b && v.value == value {
			return i + acceptor
		}
	}
	for i := range acceptorCount {
		e.cast = append(e.cast, vote{i, b, value})
	}
	return len(e.cast) - acceptorCount + acceptor
}

func (e *explorer) numberMessage(m message) int {
	key := fmt.Sprintf("%v %d %d %d", m.request, m.from, m.who, m.life)
	if m.reply != nil {
		key += fmt.Sprintf(" %v", *m.reply)
	}
	return e.messages.number(key, m)
}

// visit walks through all that may happen from w on, until something is wrong.
func (e *explorer) visit(w world) {
	if !e.plain {
		w = e.prune(w)
	}
	if e.seen[w] || e.problem != "" {
		return
	}
	e.seen[w] = true
	if e.problem = e.check(w); e.problem != "" {
		for _, s := range e.path {
			e.problem += "\n\t" + e.tell(s)
		}
		return
	}
	w.sent.each(func(m int) {
		if e.messages.list[m].reply == nil {
			e.deliverRequest(w, m)
		} else {
			e.deliverReply(w, m)
		}
	})
	for who, a := range w.proposers {
		e.restartProposer(w, who, e.askers.list[a])
	}
	for i, r := range w.records {
		e.restartAcceptor(w, i, int(r))
	}
}

func (e *explorer) step(w world, s edge) {
	e.path = append(e.path, s)
	e.visit(w)
	e.path = e.path[:len(e.path)-1]
}

func (e *explorer) deliverRequest(w world, number int) {
	m := e.messages.list[number]
	a := e.ask(m.to, int(w.records[m.to]), number)
	if a.reply < 0 {
		return
	}
	next := w
	if a.vote >= 0 {
		next.votes.add(a.vote)
	}
	switch e.messages.list[a.reply].reply.Kind {
	case Refused:
		// It tells of counters, which matters where nothing else was asked. Any other attempt may end at any time anyway.
		if e.askers.list[w.proposers[m.who]].p.phase == reserving && m.to == m.who {
			e.deliverReply(w, a.reply)
		}
		return
	case Promised:
		next.sent.add(a.reply)
	}
	if !e.rules.PersistFirst {
		e.step(next, edge{"replies and forgets", m.to, 0, number})
	}
	next.records[m.to] = uint16(a.record)
	e.step(next, edge{"gets", m.to, 0, number})
}

// ask has an acceptor with this record answer a request.
func (e *explorer) ask(to, record, number int) answer {
	key := [3]int{to, record, number}
	if a, ok := e.asked[key]; ok {
		return a
	}
	m := e.messages.list[number]
	acceptor := e.acceptor(to, record)
	reply, written, err := e.rules.ask(acceptor, m.request)
	a := answer{record: record, reply: -1, vote: -1}
	if err == nil {
		m.reply, m.from = &reply, to
		a.reply = e.numberMessage(m)
	}
	if written != nil {
		a.record = e.numberRecord(*written)
	}
	if err == nil && reply.Kind == Accepted {
		a.vote = e.number(m.to, m.ballot, m.value)
	}
	e.asked[key] = a
	return a
}

// numberRecord syncs a record, and has it read again.
func (e *explorer) numberRecord(r Record) int {
	if r.Promised.IsZero() {
		return 0
	}
	disk := AppendRecord(nil, r)
	back, err := DecodeRecord(disk)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.records.number(string(disk), back)
}

func (e *explorer) acceptor(i, record int) *Acceptor {
	a, err := NewAcceptor(testNode(i), e.in, nil, e.records.list[record])
	if err != nil {
		e.t.Fatal(err)
	}
	return a
}

func (e *explorer) deliverReply(w world, number int) {
	m := e.messages.list[number]
	if e.askers.list[w.proposers[m.who]].life != m.life {
		return
	}
	e.move(w, e.tellOnce(int(w.proposers[m.who]), number), edge{"hears", m.who, m.from, number})
}

// tellOnce has a proposer hear a reply, the first time.
func (e *explorer) tellOnce(asker, number int) reaction {
	key := [2]int{asker, number}
	r, ok := e.told[key]
	if !ok {
		m, a := e.messages.list[number], e.askers.list[asker].clone()
		r = e.react(a, e.rules.tell(a.p, testNode(m.from), *m.reply))
		e.told[key] = r
	}
	return r
}

func (a asker) clone() asker {
	p := *a.p
	p.promised.heard, p.accepted.heard = slices.Clone(p.promised.heard), slices.Clone(p.accepted.heard)
	a.p = &p
	return a
}

// react is the proposer as it stands behind a step, and what the step sends.
func (e *explorer) react(a asker, s Step) reaction {
	var r reaction
	if s.Do == Prepare || s.Do == Accept {
		for _, id := range s.To {
			m := message{who: a.who, life: a.life, request: e.rules.request(a.p, s, e.in.place(id))}
			r.sends = append(r.sends, e.numberMessage(m))
		}
	}
	r.asker = e.numberAsker(a)
	return r
}

func (e *explorer) move(w world, r reaction, s edge) {
	if a := e.askers.list[r.asker].p; a.ballot.Counter > e.counters {
		return
	}
	w.proposers[s.who] = uint16(r.asker)
	for _, m := range r.sends {
		w.sent.add(m)
	}
	e.step(w, s)
}

// restartProposer has it begin an attempt, and begin a life.
func (e *explorer) restartProposer(w world, who int, a asker) {
	if max(a.p.ballot.Counter, a.p.seen.Counter) < e.counters && a.p.phase != ended {
		key := [2]int{int(w.proposers[who]), -1}
		r, ok := e.told[key]
		if !ok {
			again := a.clone()
			again.p.Timeout()
			r = e.react(again, e.rules.start(again.p))
			e.told[key] = r
		}
		e.move(w, r, edge{"begins an attempt", who, 0, -1})
	}
	if a.life+1 < e.lives[who] && (a.p.ballot.Counter > 0) {
		w.proposers[who] = uint16(e.newLife(who, a.life+1))
		e.step(w, edge{"crashes", who, 0, -1})
	}
}

// restartAcceptor matters only where a rule has it forget something.
func (e *explorer) restartAcceptor(w world, i, record int) {
	if e.rules.PromiseDurable && e.rules.AcceptanceDurable {
		return
	}
	if r := e.numberRecord(e.rules.restarted(e.records.list[record])); r != record {
		w.records[i] = uint16(r)
		e.step(w, edge{"restarts", i, 0, -1})
	}
}
