package coordinator

import (
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

// Trace tells what was done for one request. Times count from Start.
type Trace struct {
	Start     time.Time
	Duration  time.Duration
	Token     ring.Token
	Partition int
	Epoch     uint64
	N         int
	Required  int
	Received  int
	Strict    bool
	Messages  []Message
}

// Message is one message to a replica and what came of it.
type Message struct {
	Node     ring.NodeID
	Fallback bool
	HintFor  ring.NodeID
	Hedged   bool
	Action   string // "read", "digest", "range", "write", "write-back", "hint"
	Asked    time.Duration
	Answered time.Duration // 0: not before the reply
	Err      error
	Versions []causal.Dot
	Repaired bool
}

// tracer notes messages; a nil one notes nothing, so that requests without --explain pay nothing.
type tracer struct {
	Trace
	now func() time.Time
}

func (c *Coordinator) newTracer(wanted bool, pl *placement, strict bool) *tracer {
	if !wanted {
		return nil
	}
	return &tracer{now: c.Now, Trace: Trace{
		Start: c.Now(), Token: pl.token, Partition: pl.partition, Epoch: pl.epoch.Number, N: pl.n, Strict: strict,
	}}
}

// asked returns the message's handle for answered.
func (t *tracer) asked(m Message) int {
	if t == nil {
		return -1
	}
	m.Asked = t.now().Sub(t.Start)
	t.Messages = append(t.Messages, m)
	return len(t.Messages) - 1
}

func (t *tracer) answered(handle int, err error, versions []causal.Dot) {
	if t == nil || handle < 0 {
		return
	}
	m := &t.Messages[handle]
	m.Answered = max(t.now().Sub(t.Start), 1)
	m.Err = err
	if versions != nil {
		m.Versions = versions
	}
}

// repaired marks the latest answered message of a node as one that was behind.
func (t *tracer) repaired(node ring.NodeID) {
	if t == nil {
		return
	}
	for i := len(t.Messages) - 1; i >= 0; i-- {
		if t.Messages[i].Node == node {
			t.Messages[i].Repaired = true
			return
		}
	}
}

// done returns the trace as it stands at the reply; what comes later is not in it.
func (t *tracer) done(required, received int) *Trace {
	if t == nil {
		return nil
	}
	out := t.Trace
	out.Messages = append([]Message(nil), t.Messages...)
	out.Duration = t.now().Sub(t.Start)
	out.Required, out.Received = required, received
	return &out
}

func dots(s causal.State) []causal.Dot {
	out := make([]causal.Dot, len(s.Versions))
	for i := range s.Versions {
		out[i] = s.Versions[i].Dot
	}
	return out
}
