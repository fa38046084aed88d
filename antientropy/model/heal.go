package model

// heal ends the faults: all nodes run, hints are handed off, all pairs exchanged, rounds go through and
// messages that were long under way arrive at last.
func (w *world) heal() {
	w.log("-- heal")
	for i := range w.nodes {
		w.start(i)
	}
	late := w.messages
	w.messages = nil
	for k, m := range late {
		if k%3 > 0 {
			w.deliver(m, false)
		}
	}
	w.settle()
	w.checkEnd()
	if w.problem == "" {
		w.twoRounds()
		w.checkEnd()
	}
	w.log("-- late messages")
	for _, m := range late {
		w.deliver(m, true) // a second time, for most
	}
	for i := range owners {
		for item := range items {
			w.read(item, 1<<i, false)
		}
	}
	w.settle()
	w.checkEnd()
}

// settle replays all hints and exchanges all pairs until a rebuilt owner has told everybody what it brought.
func (w *world) settle() {
	for range 2 {
		w.handOffAll()
		for range 2 {
			for p := range pairs {
				w.exchangePair(p)
			}
		}
		for i := range owners {
			w.raiseFloor(i)
		}
	}
}

// handOffAll delivers every hint to every owner that is up.
func (w *world) handOffAll() {
	for from := range guardians {
		for item := range items {
			for p := range owners {
				if w.nodes[p].up {
					w.sendHint(from, item, p)
					w.deliverHints()
				}
			}
		}
	}
}

func (w *world) deliverHints() {
	for k := len(w.messages) - 1; k >= 0 && w.messages[k].kind == hintMessage; k-- {
		m := w.messages[k]
		w.messages = w.messages[:k]
		w.deliver(m, false)
	}
}

// exchangePair exchanges all items of a pair from the first on.
func (w *world) exchangePair(p int) {
	w.exchanges[p].active = false
	for range items {
		w.exchangeItem(p, false)
		if !w.exchanges[p].active {
			return
		}
	}
}

// wholeRound runs all parts of a round that the state of the nodes allows.
func (w *world) wholeRound(leader int) {
	w.startRound(leader)
	for i := range guardians {
		w.attest(i)
	}
	for p := range pairs {
		w.exchangePair(p)
	}
	w.commitRound()
}

// twoRounds is what a healthy partition needs to purge everything. The second level is the first watermark,
// so time must pass before the first.
func (w *world) twoRounds() {
	top := w.physical(0)
	for i := range w.nodes {
		top = max(top, w.nodes[i].clock, w.physical(i))
	}
	for range 2 {
		w.now += int(top.Millis()) + 200 - int(w.physical(0).Millis())
		top = w.physical(0)
		w.wholeRound(0)
		for i := range owners {
			w.raiseFloor(i)
		}
	}
	for i := range owners {
		w.purge(i)
	}
	w.checkPurged()
}
