package transfer

import (
	"slices"
	"sync"

	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Progress is how far the present pull, or the last one, has come.
type Progress struct {
	// Ranges were planned, and Done of them are complete.
	Ranges, Done int
	// Of all pulls since the start.
	Pages, Items, Bytes, Errors uint64
	// LastError is the last reason why a source could not be read, and Failed whom it was read from; zero: it was this node's own.
	LastError string
	Failed    ring.NodeID
	// Sources are being read.
	Sources []ring.NodeID
	// BytesLeft is an estimate: how many items are left to be read, as far as sources have told how many they have and as many as
	// those on average where none has, times how large items were so far. 0 as long as nothing is known.
	BytesLeft int64
}

// totals collects it.
type totals struct {
	mu      sync.Mutex
	now     Progress
	sources map[ring.NodeID]bool
	// ranges is what is known of each range that was planned.
	ranges map[storage.Move]*rangeItems
}

// rangeItems are how often a range has to be read, how many items it has, and how many were read of it.
type rangeItems struct{ reads, total, read int64 }

func (t *totals) begin(works []Work) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Ranges, t.now.Done = len(works), 0
	t.sources, t.ranges = make(map[ring.NodeID]bool), make(map[storage.Move]*rangeItems, len(works))
	for _, w := range works {
		reads := w.Need
		if w.Self {
			reads--
		}
		t.ranges[w.Move] = &rangeItems{reads: int64(reads)}
	}
}

func (t *totals) reading(id ring.NodeID, is bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if is {
		t.sources[id] = true
	} else {
		delete(t.sources, id)
	}
}

func (t *totals) page(w Work, page Page, size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Pages++
	t.now.Items += uint64(len(page.Items))
	t.now.Bytes += uint64(size)
	if r := t.ranges[w.Move]; r != nil {
		r.total = max(r.total, page.Total)
		r.read += int64(len(page.Items))
	}
}

func (t *totals) failed(source ring.NodeID, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Errors++
	t.now.Failed, t.now.LastError = source, err.Error()
}

func (t *totals) complete(m storage.Move) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Done++
	if r := t.ranges[m]; r != nil {
		r.reads = 0
	}
}

func (t *totals) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.sources)
}

// Progress is how far it has come.
func (p *Puller) Progress() Progress {
	t := &p.totals
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.now
	for id := range t.sources {
		out.Sources = append(out.Sources, id)
	}
	slices.SortFunc(out.Sources, ring.NodeID.Compare)
	out.BytesLeft = t.left()
	return out
}

// left estimates the bytes that are still to be fetched.
func (t *totals) left() int64 {
	if t.now.Items == 0 {
		return 0
	}
	var known, reads, unknown, items int64
	for _, r := range t.ranges {
		switch {
		case r.total > 0:
			known, reads = known+r.total, reads+1
			items += max(r.reads*r.total-r.read, 0)
		default:
			unknown += r.reads
		}
	}
	if reads > 0 {
		items += unknown * (known / reads)
	}
	return items * int64(t.now.Bytes/t.now.Items)
}
