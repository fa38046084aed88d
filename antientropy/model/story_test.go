package model

import (
	"strings"
	"testing"
)

// tell tells a story by hand, which random steps come upon too seldom, or one that they found and that shall
// not be lost with its seed. It ends well with all rules, and as told without the one, if there is one.
func tell(t *testing.T, rule, without string, story func(w *world)) {
	t.Helper()
	type telling struct {
		rules Rules
		want  string
	}
	tellings := []telling{{AllRules(), ""}}
	if rule != "" {
		weak, err := Without(strings.Split(rule, "+")...)
		if err != nil {
			t.Fatal(err)
		}
		tellings = append(tellings, telling{weak, without})
	}
	for _, c := range tellings {
		w := newWorld(c.rules, mode{sloppy: true, quorum: 1})
		var lines []string
		w.trace = func(s string) { lines = append(lines, s) }
		if story(w); kindOf(w.problem) != c.want {
			t.Errorf("got %q, want %q\n%s", w.problem, c.want, strings.Join(lines, "\n"))
		}
	}
}

func (w *world) lastToken(item int) token { return w.tokens[item][len(w.tokens[item])-1] }

// nextRound is a round that all take part in and hear of.
func (w *world) nextRound() {
	w.wholeRound(0)
	for i := range guardians {
		w.raiseFloor(i)
	}
}

// TestLateRepairWhileRebuilding: C gets its old disk back and pulls A and B, item by item. When it has
// pulled the first item from both, a repair arrives that was sent before the value was deleted. The
// sources' floors would drop it, but C has none yet, and will have one in a moment.
func TestLateRepairWhileRebuilding(t *testing.T) {
	t.Parallel()
	tell(t, "RebuildingDenies", "revived", func(w *world) {
		w.copyDisk(2, false)
		w.newPut(0, 0, token{}, false, allOwners)
		w.exchangePair(1)
		w.read(0, 1<<2, true)
		repair := w.messages[len(w.messages)-1]
		w.newPut(1, 0, w.lastToken(0), true, allOwners)
		for range 2 {
			w.now += 50
			w.nextRound()
		}
		for i := range owners {
			w.purge(i)
			w.gossip(i)
		}
		w.putBack(2)
		w.exchangePair(1)
		w.exchangeItem(2, false)
		w.deliver(repair, false)
		w.exchangeItem(2, false)
		w.exchangeItem(2, false)
		w.checkStep()
		if w.stats.Rebuilt != 1 || w.stats.Tombstones == 0 {
			t.Errorf("the story went otherwise: %+v", w.stats)
		}
	})
}

// TestRetryAfterPurge: two rounds in quick succession let a tombstone go while a retry of what it deleted
// may still be minted. Nobody remembers the request id, and the new dot is above every floor.
func TestRetryAfterPurge(t *testing.T) {
	t.Parallel()
	tell(t, "PurgeMargin", "revived", func(w *world) {
		w.newPut(0, 0, token{}, false, 0)
		w.read(0, 1<<0, false)
		w.newPut(0, 0, w.lastToken(0), true, 0)
		w.handOffAll()
		w.now += longest + 1
		w.nextRound()
		w.now++
		w.nextRound()
		for i := range owners {
			w.purge(i)
		}
		w.put(0, 1, allOwners)
		w.checkStep()
		w.twoRounds()
		if w.stats.Rounds != 4 {
			t.Errorf("%d rounds", w.stats.Rounds)
		}
	})
}

// TestRestartBeforeRaise: a fallback's write is still on its way when a round passes it by, for B's clock is far
// ahead, all guardians having promised to refuse it. C restarts after the round has committed and before it has
// raised its floor. If the promise did not outlive its process, C takes the write and acknowledges it, and the
// floors of the others say that they have it.
func TestRestartBeforeRaise(t *testing.T) {
	t.Parallel()
	tell(t, "AttestSurvives", "untrue", func(w *world) {
		w.newPut(0, 0, token{}, false, allOwners)
		w.now += longest + 1
		w.nextRound()
		w.read(0, 1<<0, false)
		w.nodes[1].skew = 60
		w.newPut(4, 0, w.lastToken(0), false, allOwners)
		late := w.messages[len(w.messages)-1]
		w.wholeRound(1)
		w.raiseFloor(0)
		w.raiseFloor(1)
		w.crash(2)
		w.start(2)
		w.deliver(late, false)
		w.checkStep()
		w.settle()
		w.checkStep()
		w.checkEnd()
	})
}

// TestAllRestartBeforeRaise: all owners restart between the end of a round and their raising of floors.
// Who did not take part with this process must not raise, so none has the watermark for a floor, and
// none can take it from another. If only owners that have it could attest, no round would ever end again.
func TestAllRestartBeforeRaise(t *testing.T) {
	t.Parallel()
	tell(t, "AnyFloorAttests", "stuck", func(w *world) {
		w.newPut(0, 0, token{}, false, allOwners)
		w.read(0, 1<<0, false)
		w.newPut(0, 0, w.lastToken(0), true, allOwners)
		w.wholeRound(0)
		for i := range owners {
			w.crash(i)
			w.start(i)
		}
		w.settle()
		w.twoRounds()
	})
}

// TestExchangeBeforeAttest: A's clock is far behind. It takes a write below T after its exchanges and before
// it attests, and nobody else has it when the others raise their floors above.
func TestExchangeBeforeAttest(t *testing.T) {
	t.Parallel()
	tell(t, "ExchangeAfterAttest", "untrue", func(w *world) {
		w.nodes[1].skew = 40
		w.startRound(1)
		for p := range pairs {
			w.exchangePair(p)
		}
		w.newPut(0, 0, token{}, false, allOwners)
		for i := range guardians {
			w.attest(i)
		}
		w.commitRound()
		for i := range owners {
			w.raiseFloor(i)
		}
		w.checkStep()
		w.settle()
		w.checkEnd()
	})
}

// TestRestartInRound: B gives A a write and loses its own copy, which was never synced, before it is exchanged
// with C. All pairs were exchanged, and yet C lacks the write when it raises its floor.
func TestRestartInRound(t *testing.T) {
	t.Parallel()
	tell(t, "VoidOnRestart", "untrue", func(w *world) {
		w.mode.memory = true
		w.newPut(1, 0, token{}, false, allOwners)
		w.now += longest + 1
		w.startRound(0)
		for i := range guardians {
			w.attest(i)
		}
		w.exchangePair(1)
		w.exchangePair(0)
		w.crash(1)
		w.start(1)
		w.exchangePair(2)
		w.commitRound()
		for i := range owners {
			w.raiseFloor(i)
		}
		w.checkStep()
		w.settle()
		w.checkEnd()
	})
}

// TestOldActor: B loses a write that it has sent to A, and goes on with the same actor. Who has then seen its
// next write is taken to have seen the lost one too.
func TestOldActor(t *testing.T) {
	t.Parallel()
	tell(t, "FreshActors", "lost", func(w *world) {
		w.mode.memory = true
		w.newPut(1, 0, token{}, false, 0)
		w.sync(1)
		w.newPut(1, 0, token{}, false, allOwners)
		w.deliver(w.messages[len(w.messages)-2], false) // to A
		w.crash(1)
		w.start(1)
		w.newPut(1, 0, token{}, false, 0)
		w.read(0, 1<<1, false)
		w.newPut(0, 0, w.lastToken(0), false, 0)
		w.checkStep()
	})
}

// TestLateRepairAcrossRound: a read merges an owner's copy with a fallback's, where a write that nobody
// acknowledged has replaced an old one. The fallback is lost, and with it the write; a round passes it by.
// Then the repair of that read arrives. If both floors dropped what the other side lacks, as was once the rule,
// A's would drop the new write and the repair's the old one.
func TestLateRepairAcrossRound(t *testing.T) {
	t.Parallel()
	tell(t, "", "", func(w *world) {
		w.newPut(0, 0, token{}, false, allOwners)
		w.now += longest + 1
		w.nextRound()
		w.read(0, 1<<0, false)
		w.mode.quorum = 3 // nobody acknowledges it
		w.newPut(4, 0, w.lastToken(0), false, 0b110)
		w.read(0, 1<<0|1<<4, true)
		repair := w.messages[len(w.messages)-1]
		w.wipe(4)
		w.now += longest + 1
		w.nextRound()
		w.deliver(repair, false)
		w.settle()
		w.checkEnd()
	})
}

// TestLostItem: C loses an item and its floor goes on saying that what it lacks was replaced. If that were believed, the
// first exchange would take the item from the others, too.
func TestLostItem(t *testing.T) {
	t.Parallel()
	tell(t, "FloorRefutes", "lost", func(w *world) {
		w.newPut(0, 0, token{}, false, allOwners)
		w.handOffAll()
		w.settle()
		for range 3 {
			w.now += 50
			w.nextRound()
		}
		w.loseItem(2, 0)
		w.settle()
		w.checkEnd()
	})
}
