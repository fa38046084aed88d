package model

import (
	"math/rand/v2"
	"slices"
)

// A step is an operation and three numbers, whose meaning the operation decides by the state it finds. So
// any part of a sequence of steps is one too, and shrinking is leaving out.
type step struct {
	op      op
	a, b, c uint16
}

type op uint8

const (
	opPut op = iota
	opRetry
	opRead
	opDeliver
	opLose
	opSync
	opCrash
	opStart
	opWipe
	opCopyDisk
	opPutBack
	opSendHint
	opHandOff
	opExchangeItem
	opExchangePair
	opTime
	opJump
	opStartRound
	opAttest
	opCommitRound
	opRaise
	opPurge
	opWholeRound
	opAttestAll
	opExchangeAll
	opReadOwner
	opGossip
	opLoseItem
	ops
)

// mixes are how often an operation is drawn: a bit of everything, rounds that mostly go through, and rounds
// whose parts come one by one between other things, and disks that are lost or put back.
var (
	mixed = [ops]int{
		opPut: 12, opRetry: 5, opRead: 10, opDeliver: 16, opLose: 2, opSync: 3, opCrash: 3, opStart: 5, opWipe: 1,
		opCopyDisk: 2, opPutBack: 2, opSendHint: 4, opHandOff: 3, opExchangeItem: 5, opExchangePair: 3, opTime: 8,
		opJump: 1, opStartRound: 2, opAttest: 8, opCommitRound: 2, opRaise: 4, opPurge: 4, opWholeRound: 3, opAttestAll: 3,
		opExchangeAll: 2, opReadOwner: 3, opGossip: 2, opLoseItem: 2,
	}
	rounds = [ops]int{
		opPut: 9, opRetry: 4, opRead: 9, opDeliver: 7, opLose: 1, opSync: 2, opCrash: 2, opStart: 5, opWipe: 1,
		opCopyDisk: 2, opPutBack: 2, opSendHint: 2, opHandOff: 5, opExchangeItem: 3, opExchangePair: 3, opTime: 10,
		opJump: 1, opStartRound: 1, opAttest: 3, opCommitRound: 2, opRaise: 5, opPurge: 5, opWholeRound: 12, opAttestAll: 2,
		opExchangeAll: 2, opReadOwner: 4, opGossip: 3, opLoseItem: 2,
	}
	pieces = [ops]int{
		opPut: 8, opRetry: 2, opRead: 4, opDeliver: 4, opLose: 2, opSync: 1, opCrash: 2, opStart: 5, opWipe: 1,
		opCopyDisk: 1, opPutBack: 1, opSendHint: 1, opHandOff: 3, opExchangeItem: 4, opExchangePair: 5, opTime: 5,
		opJump: 1, opStartRound: 3, opAttest: 5, opCommitRound: 6, opRaise: 6, opPurge: 3, opWholeRound: 1, opAttestAll: 5,
		opExchangeAll: 1, opReadOwner: 3, opGossip: 1, opLoseItem: 2,
	}
	disks = [ops]int{
		opPut: 8, opRetry: 3, opRead: 5, opDeliver: 6, opLose: 1, opSync: 1, opCrash: 4, opStart: 6, opWipe: 3,
		opCopyDisk: 4, opPutBack: 6, opSendHint: 1, opHandOff: 4, opExchangeItem: 8, opExchangePair: 2, opTime: 8,
		opJump: 1, opRaise: 3, opPurge: 6, opWholeRound: 12, opExchangeAll: 2, opReadOwner: 10, opGossip: 3, opLoseItem: 2,
	}
)

// newSteps draws a run. Each run leaves some operations out and has more of others: what needs many rounds
// and no crash is found in a run that has none.
func newSteps(rng *rand.Rand, n int) []step {
	mix := [...][ops]int{mixed, rounds, pieces, disks}[rng.IntN(4)]
	total := 0
	for o := range mix {
		switch k := rng.IntN(6); {
		case k == 0 && op(o) != opPut && op(o) != opRead:
			mix[o] = 0
		case k == 1:
			mix[o] *= 3
		}
		total += mix[o]
	}
	steps := make([]step, n)
	for i := range steps {
		k, o := rng.IntN(total), 0
		for ; k >= mix[o]; o++ {
			k -= mix[o]
		}
		steps[i] = step{op(o), uint16(rng.Uint32()), uint16(rng.Uint32()), uint16(rng.Uint32())}
	}
	return steps
}

// itemOf prefers the first item, so that much happens to it while the others are what it is tangled with.
func itemOf(k uint16) int { return [...]int{0, 0, 0, 1, 1, 2}[k%6] }

func (w *world) step(s step) {
	i, o := int(s.a)%guardians, int(s.a)%owners
	switch s.op {
	case opPut:
		w.stepPut(s)
	case opRetry:
		if n := len(w.writes); n > 0 {
			n -= 1 + int(s.b)%min(n, 4)
			if c := w.coordinator(s.a); w.nodes[c].up { // also one whose acknowledgement never reached the client
				w.put(n, c, set(s.c)&allOwners)
			}
		}
	case opRead:
		w.read(itemOf(s.b), set(s.a)&allGuardians, s.c%2 == 0)
	case opReadOwner:
		w.read(itemOf(s.b), 1<<o, s.c%2 == 0)
	case opDeliver:
		w.stepDeliver(s)
	case opLose:
		if n := len(w.messages); n > 0 {
			k := int(s.a) % n
			w.messages = slices.Delete(w.messages, k, k+1)
		}
	case opSync:
		if w.nodes[i].up {
			w.sync(i)
		}
	case opSendHint:
		for k := range guardians { // the first from i on that has one
			if from, item := (i+k)%guardians, itemOf(s.b); w.nodes[from].memory.hints[item].targets != 0 {
				w.sendHint(from, item, int(s.c)%owners)
				break
			}
		}
	case opHandOff:
		w.handOffAll()
	case opExchangeItem:
		w.exchangeItem(o, s.b%8 == 0)
	case opExchangePair:
		w.exchangePair(o)
	case opExchangeAll:
		for k := range pairs {
			w.exchangePair((k + o) % len(pairs))
		}
	case opTime:
		w.now += 1 + int(s.a)%6
		if s.b%3 == 0 {
			w.now += 20
		}
	default:
		w.stepFault(s, i)
		w.stepRound(s, i, o)
	}
	w.checkStep()
}

func (w *world) stepFault(s step, i int) {
	switch s.op {
	case opCrash:
		w.crash(i)
	case opStart:
		w.start(i)
	case opWipe:
		w.wipe(i)
	case opCopyDisk:
		w.copyDisk(i, s.b%4 == 0)
	case opPutBack:
		w.putBack(i)
	case opGossip:
		w.gossip(i)
	case opLoseItem:
		w.loseItem(int(s.a)%owners, itemOf(s.b))
	case opJump:
		w.nodes[i].skew += int(s.b)%200 - 60
		w.log("the clock of %s jumps to %v", names[i], w.physical(i))
	}
}

func (w *world) stepRound(s step, i, o int) {
	switch s.op {
	case opStartRound:
		if !w.round.active || s.b%4 == 0 {
			w.startRound(o)
		}
	case opAttest:
		w.attest(i)
	case opAttestAll:
		for k := range guardians {
			w.attest(k)
		}
	case opCommitRound:
		w.commitRound()
	case opRaise:
		w.raiseFloor(i)
	case opPurge:
		w.purge(o)
	case opWholeRound:
		w.wholeRound(o)
		for k := range owners {
			if s.b%2 == 0 {
				w.raiseFloor(k)
			}
			if s.b%4 == 0 {
				w.purge(k)
			}
		}
	}
}

func (w *world) coordinator(k uint16) int {
	if w.mode.sloppy {
		return int(k) % guardians
	}
	return int(k) % owners
}

// stepPut writes blindly, or with the context of the last read of the item or of an earlier one.
func (w *world) stepPut(s step) {
	item := itemOf(s.b)
	var t token
	if ts := w.tokens[item]; len(ts) > 0 && s.b/6%4 > 0 {
		t = ts[len(ts)-1]
		if s.b/24%2 == 0 {
			t = ts[int(s.b/48)%len(ts)]
		}
	}
	reach := set(s.c) & allOwners
	if s.c/8%3 == 0 {
		reach = allOwners
	}
	w.newPut(w.coordinator(s.a), item, t, t.seen != 0 && s.c/24%3 == 0, reach)
}

// stepDeliver hands some message over, and in one of eight cases keeps it to come again.
func (w *world) stepDeliver(s step) {
	if len(w.messages) == 0 {
		return
	}
	k := int(s.a) % len(w.messages)
	m := w.messages[k]
	if s.b%8 > 0 {
		w.messages = slices.Delete(w.messages, k, k+1)
	}
	w.deliver(m, s.b%8 == 1)
}
