package paxos

import (
	"flag"
	"fmt"
	"testing"
)

// prune takes away what can change nothing any more, so that worlds which differ in nothing else are one.
func (e *explorer) prune(w world) world {
	kept := e.rules.PromiseDurable && e.rules.AcceptanceDurable && e.rules.PromiseKept && e.rules.PersistFirst
	sent := w.sent
	sent.each(func(number int) {
		m := e.messages.list[number]
		a := e.askers.list[w.proposers[m.who]]
		waits := a.life == m.life && e.rules.sent(a.p, a.p.ballot) == m.ballot && (a.p.phase == reserving || a.p.phase == preparing)
		if m.reply != nil {
			if e.idle(w, number) && !(waits && a.p.phase == reserving) {
				w.sent.drop(number)
			}
			return
		}
		// Promises only rise: what is refused, or was done, is so for ever.
		r := e.records.list[w.records[m.to]]
		switch done := r.Promised.Compare(m.ballot); {
		case !kept:
		case m.do == Accept:
			if done > 0 || r.Accepted == m.ballot {
				w.sent.drop(number)
			}
		case done > 0 && !(waits && a.p.phase == reserving):
			w.sent.drop(number)
		case done == 0 && !(waits && a.p.phase == reserving):
			if reply := e.ask(m.to, int(w.records[m.to]), number).reply; e.messages.list[reply].reply.Kind == Refused || sent.has(reply) || e.idle(w, reply) {
				w.sent.drop(number)
			}
		}
	})
	if kept {
		w.votes = e.pruneVotes(w)
	}
	return w
}

// idle says whether a reply would do nothing.
func (e *explorer) idle(w world, number int) bool {
	m := e.messages.list[number]
	if e.askers.list[w.proposers[m.who]].life != m.life {
		return true
	}
	r := e.tellOnce(int(w.proposers[m.who]), number)
	return r.asker == int(w.proposers[m.who]) && len(r.sends) == 0
}

// pruneVotes takes away the votes at ballots that too many acceptors have passed by for them ever to be chosen at.
func (e *explorer) pruneVotes(w world) set {
	votes := w.votes
	w.votes.each(func(i int) {
		b, first, may := e.cast[i].ballot, i-i%acceptorCount, 0
		for a, number := range w.records {
			if w.votes.has(first+a) || e.records.list[number].Promised.Compare(b) <= 0 {
				may++
			}
		}
		if may < e.in.Majority() {
			votes.drop(i)
		}
	})
	return votes
}

// verdict is what a set of votes amounts to.
type verdict struct {
	chosen  *vote // at the lowest ballot
	problem string
}

// choice counts votes, as they were cast, not as anybody tells.
func (e *explorer) choice(votes set) verdict {
	if known, ok := e.verdicts[votes]; ok {
		return known
	}
	var all verdict
	counts := map[vote]int{}
	votes.each(func(i int) {
		v := e.cast[i]
		v.acceptor = 0
		if counts[v]++; counts[v] != e.in.Majority() {
			return
		}
		if c := all.chosen; c != nil && c.value != v.value {
			all.problem = fmt.Sprintf("two values chosen: %q at %v, %q at %v", c.value, c.ballot, v.value, v.ballot)
		}
		if c := all.chosen; c == nil || v.ballot.Compare(c.ballot) < 0 {
			all.chosen = &v
		}
	})
	e.verdicts[votes] = all
	return all
}

// check holds a world against what consensus means.
func (e *explorer) check(w world) string {
	all := e.choice(w.votes)
	if all.problem != "" {
		return all.problem
	}
	for who := range w.proposers {
		if said := e.said(w, who); said != "" && (all.chosen == nil || said != all.chosen.value) {
			return fmt.Sprintf("proposer %d would end with %q, which was not chosen", who, said)
		}
	}
	if all.chosen != nil {
		e.chosen++
		if problem := e.checkKept(w, *all.chosen); problem != "" {
			return problem
		}
	}
	return e.checkProgress(w, all.chosen)
}

// said is what a proposer would end with if it heard, twice, of all that was accepted at its ballot.
func (e *explorer) said(w world, who int) string {
	a := e.askers.list[w.proposers[who]]
	if a.p.phase != accepting {
		return ""
	}
	ballot, p := e.rules.sent(a.p, a.p.ballot), a.clone().p
	first := e.number(0, ballot, string(p.value))
	for i := range acceptorCount {
		if !w.votes.has(first + i) {
			continue
		}
		for range 2 {
			if s := e.rules.tell(p, testNode(i), Reply{Kind: Accepted, Instance: 1, Ballot: ballot}); s.Do == Chosen {
				return string(s.Value)
			}
		}
	}
	return ""
}

// checkKept: a majority of disks still tells of the choice, and nobody has accepted another value since.
func (e *explorer) checkKept(w world, chosen vote) string {
	keep := 0
	for i, number := range w.records {
		r := e.records.list[number]
		if r.Accepted.Compare(chosen.ballot) < 0 {
			continue
		}
		if keep++; string(r.Value) != chosen.value {
			return fmt.Sprintf("%q was chosen at %v, and %d has accepted %q at %v", chosen.value, chosen.ballot, i, r.Value, r.Accepted)
		}
	}
	if keep < e.in.Majority() {
		return fmt.Sprintf("%q was chosen, and only %d disks tell of it", chosen.value, keep)
	}
	return ""
}

// checkProgress: whatever has happened, a proposer that is alone now and reaches a majority decides, on what was chosen
// if anything was.
func (e *explorer) checkProgress(w world, chosen *vote) string {
	outcomes, ok := e.finished[w.records]
	if !ok {
		for who := range acceptorCount {
			for _, alive := range []int{0b111, 0b011, 0b101, 0b110} {
				if alive>>who&1 == 1 {
					outcomes += e.finish(w, who, alive)
				}
			}
		}
		e.finished[w.records] = outcomes
	}
	for _, o := range outcomes {
		if o == '-' || chosen != nil && string(o) != chosen.value {
			return fmt.Sprintf("lone proposers decide %q, chosen was %+v", outcomes, chosen)
		}
	}
	return ""
}

// finish has a new proposer at one node go on with the acceptors that are alive, until it ends; "-" if it does not.
func (e *explorer) finish(w world, who, alive int) string {
	var acceptors [acceptorCount]*Acceptor
	for i, r := range w.records {
		acceptors[i] = e.acceptor(i, int(r))
	}
	p, err := NewProposer(testNode(who), e.in, []byte("z"))
	if err != nil {
		e.t.Fatal(err)
	}
	for range 3 {
		queue := []Step{e.rules.start(p)}
		for len(queue) > 0 {
			s := queue[0]
			queue = queue[1:]
			if s.Do == Chosen {
				return string(s.Value)
			}
			for _, id := range s.To {
				to := e.in.place(id)
				if alive>>to&1 == 0 {
					continue
				}
				reply, _, err := e.rules.ask(acceptors[to], e.rules.request(p, s, to))
				if err == nil {
					queue = append(queue, e.rules.tell(p, id, reply))
				}
			}
		}
		p.Timeout()
	}
	return "-"
}

var exhaustive = flag.Bool("exhaustive", false, "walk further, for a minute")

// TestExhaustive walks through everything that two proposers with two ballots each may do to three acceptors, without a
// crash of theirs, and where there is time for it with one. With a ballot less it does so without prune. With -exhaustive
// both may crash.
func TestExhaustive(t *testing.T) {
	walks := []exploration{
		{counters: 1, lives: [2]int{2, 1}, plain: true},
		{counters: 2, lives: [2]int{1, 1}},
	}
	switch {
	case *exhaustive:
		walks = append(walks, exploration{counters: 2, lives: [2]int{1, 2}}, exploration{counters: 2, lives: [2]int{2, 2}})
	case !raced:
		walks = append(walks, exploration{counters: 2, lives: [2]int{2, 1}})
	}
	for _, x := range walks {
		t.Run(fmt.Sprintf("%d counters, lives %v, plain %v", x.counters, x.lives, x.plain), func(t *testing.T) {
			t.Parallel()
			x.rules = allRules()
			e := explore(t, x)
			if e.problem != "" {
				t.Fatal(e.problem)
			}
			t.Logf("%d states, a value chosen in %d", len(e.seen), e.chosen)
			if e.chosen == 0 || e.chosen == len(e.seen) {
				t.Error("the walk went nowhere")
			}
		})
	}
}

// TestExhaustiveWeakened takes the rules away one at a time.
func TestExhaustiveWeakened(t *testing.T) {
	for _, name := range ruleNames() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := exploration{rules: without(name), counters: 2, lives: [2]int{1, 1}}
			if name == "OwnBallotOnce" || name == "SelfFirst" {
				x.counters, x.lives = 1, [2]int{2, 1}
			}
			e := explore(t, x)
			if e.problem == "" {
				t.Fatalf("nothing went wrong in %d states", len(e.seen))
			}
			t.Logf("%d states: %s", len(e.seen), e.problem)
		})
	}
}
