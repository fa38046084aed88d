package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on stderr, on a terminal; elsewhere it is silent. It is safe for concurrent use.
type progress struct {
	app *app
	mu  sync.Mutex
	bar *progressbar.ProgressBar
}

// newProgress starts a bar of so many steps; bytes says that a step is a byte.
func (a *app) newProgress(what string, steps int64, bytes bool) *progress {
	p := &progress{app: a}
	if !a.terminal(a.err) {
		return p
	}
	p.bar = progressbar.NewOptions64(steps,
		progressbar.OptionSetWriter(a.err),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
	return p
}

// set moves the bar; rows are told beside it. What goes wrong with a bar is not worth failing for.
func (p *progress) set(step int64, rows int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return
	}
	p.bar.Describe(fmt.Sprintf("%d rows", rows))
	_ = p.bar.Set64(step)
}

// tell moves the bar of a thing whose size may only turn up on the way; total is 0 as long as nobody knows it.
func (p *progress) tell(done, total int64, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return
	}
	p.bar.Describe(text)
	if total > 0 && total != p.bar.GetMax64() {
		p.bar.ChangeMax64(total)
	}
	_ = p.bar.Set64(done)
}

// note writes a line above the bar.
func (p *progress) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	p.app.note(format, args...)
}

// finish removes the bar.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
