package sim

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// trace is what happened in a run, in order, with the run's own time.
type trace struct {
	start time.Time
	mu    sync.Mutex
	lines []string
}

// Live, if it is not nil, gets each line of every trace as it is written.
var Live io.Writer

func newTrace() *trace { return &trace{start: time.Now()} }

// at is the run's time.
func (t *trace) at() time.Duration { return time.Since(t.start) }

// add notes what happened at a place.
func (t *trace) add(where place, format string, args ...any) {
	name := "clients"
	if where != clients {
		name = nodeName(int(where))
	}
	line := fmt.Sprintf("%12.6f %-8s %s", t.at().Seconds(), name, fmt.Sprintf(format, args...))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	if Live != nil {
		_, _ = fmt.Fprintln(Live, line)
	}
}

// writer takes a node's log, line by line.
func (t *trace) writer(where place) io.Writer { return &traceWriter{t, where} }

type traceWriter struct {
	trace *trace
	where place
}

func (w *traceWriter) Write(b []byte) (int, error) {
	w.trace.add(w.where, "log: %s", bytes.TrimRight(b, "\n"))
	return len(b), nil
}

func (t *trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
