package main

// tracker knows up to which line of an import all is settled, though lines are settled in any order.
type tracker struct {
	// mark is that line, offset the byte behind it.
	mark   int
	offset int64
	// ends are the settled lines above mark, by number, with the byte behind each. Their number is
	// bounded by what is under way.
	ends map[int]int64
	// held is the first line that another try may store: mark stays below it. 0: none.
	held int
}

func newTracker(line int, offset int64) *tracker {
	return &tracker{mark: line, offset: offset, ends: make(map[int]int64)}
}

// settle notes that a line, which ends at a byte, needs no further try.
func (t *tracker) settle(line int, end int64) {
	if t.held > 0 && line > t.held {
		return // mark will not come there in this run
	}
	t.ends[line] = end
	for {
		end, ok := t.ends[t.mark+1]
		if !ok {
			return
		}
		t.mark++
		t.offset = end
		delete(t.ends, t.mark)
	}
}

// hold notes that a line needs another try, in another run.
func (t *tracker) hold(line int) {
	if t.held > 0 && t.held <= line {
		return
	}
	t.held = line
	for settled := range t.ends {
		if settled > line {
			delete(t.ends, settled)
		}
	}
}

func (t *tracker) position() (line int, offset int64) { return t.mark, t.offset }
