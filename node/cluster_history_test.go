package node_test

import (
	"fmt"
	"slices"
	"sync"
)

// history is what is known of one item that one writer writes, in numbers: what each write had seen, and which writes
// every later read must show, or show replaced.
type history struct {
	mu sync.Mutex
	// replaced lists for each write those that its context covered.
	replaced map[int][]int
	// firm are the acknowledged writes, and those that a read has shown, of which none replaces another.
	firm []int
	// shown are those that a read has shown, refused those of which nothing may ever be seen.
	shown, refused map[int]bool
}

func newHistory() *history {
	return &history{replaced: map[int][]int{}, shown: map[int]bool{}, refused: map[int]bool{}}
}

// begin notes a write before it is sent.
func (h *history) begin(write int, replaces []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replaced[write] = slices.Clone(replaces)
}

// acknowledge notes that a write is done.
func (h *history) acknowledge(write int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settle(write)
}

// refuse notes that a write certainly was not done.
func (h *history) refuse(write int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused[write] = true
	if h.shown[write] {
		return fmt.Errorf("write %d was refused, and a read has shown it", write)
	}
	return nil
}

// demand is what a read that starts now must show.
func (h *history) demand() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.firm)
}

// read checks what a read showed against what was demanded when it started.
func (h *history) read(demanded, shown []int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, write := range shown {
		if _, known := h.replaced[write]; !known {
			return fmt.Errorf("a read shows write %d, which was never made; all: %v", write, shown)
		}
		if h.refused[write] {
			return fmt.Errorf("a read shows write %d, which was refused; all: %v", write, shown)
		}
		h.shown[write] = true
	}
	for _, write := range demanded {
		if !slices.ContainsFunc(shown, func(later int) bool { return h.covers(later, write) }) {
			return fmt.Errorf("a read misses write %d, or a successor: it shows %v", write, shown)
		}
	}
	for _, write := range shown {
		h.settle(write)
	}
	return nil
}

// settle makes a write one that every later read must show. The caller holds the lock.
func (h *history) settle(write int) {
	if slices.ContainsFunc(h.firm, func(other int) bool { return h.covers(other, write) }) {
		return
	}
	h.firm = slices.DeleteFunc(h.firm, func(other int) bool { return h.covers(write, other) })
	h.firm = append(h.firm, write)
}

// covers says whether a write is another, or was made by one who had seen it or a successor. Numbers grow along the way.
func (h *history) covers(later, write int) bool {
	visited := map[int]bool{}
	var walk func(int) bool
	walk = func(at int) bool {
		if at == write {
			return true
		}
		if at < write || visited[at] {
			return false
		}
		visited[at] = true
		return slices.ContainsFunc(h.replaced[at], walk)
	}
	return walk(later)
}
