package storage

import (
	"bytes"
	"slices"
	"sync"
)

// ledger counts hints and the bytes charged for them, by target. It is in memory alone: Open adds it up from
// the hints.
type ledger struct {
	perTarget, limit int64

	mu      sync.Mutex // never held across I/O
	targets map[NodeID]*account
	total   int64
}

type account struct{ items, bytes int64 }

// entry is one change of the ledger. enforce: refuse it, and all entries posted with it, if it grows the
// account beyond a limit.
type entry struct {
	target  NodeID
	items   int64
	bytes   int64
	enforce bool
}

func newLedger(perTarget, limit int64) *ledger {
	return &ledger{perTarget: perTarget, limit: limit, targets: make(map[NodeID]*account)}
}

// post books all entries or none. The caller holds the latches of the records concerned and applies its
// batch next; if that fails the store has failed, so nothing is ever taken back.
func (l *ledger) post(entries []entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	growth := int64(0)
	for _, e := range entries {
		if !e.enforce || e.bytes <= 0 {
			continue
		}
		growth += e.bytes
		if used := l.bytesOf(e.target); used+e.bytes > l.perTarget {
			return &HintBudgetError{Target: e.target, Need: e.bytes, Used: used, Limit: l.perTarget}
		}
		if l.total+growth > l.limit {
			return &HintBudgetError{Target: e.target, Need: growth, Used: l.total, Limit: l.limit, Total: true}
		}
	}
	for _, e := range entries {
		l.book(e)
	}
	return nil
}

func (l *ledger) bytesOf(node NodeID) int64 {
	if a := l.targets[node]; a != nil {
		return a.bytes
	}
	return 0
}

func (l *ledger) book(e entry) {
	a := l.targets[e.target]
	if a == nil {
		a = &account{}
		l.targets[e.target] = a
	}
	a.items += e.items
	a.bytes += e.bytes
	l.total += e.bytes
	if a.items == 0 {
		delete(l.targets, e.target)
	}
}

// snapshot lists the accounts by target.
func (l *ledger) snapshot() []HintStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats := make([]HintStats, 0, len(l.targets))
	for node, a := range l.targets {
		stats = append(stats, HintStats{Target: node, Items: a.items, Bytes: a.bytes})
	}
	slices.SortFunc(stats, func(a, b HintStats) int { return bytes.Compare(a.Target[:], b.Target[:]) })
	return stats
}
