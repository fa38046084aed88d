// Package task keeps the long operations of a node: what runs, how far it has come, and what came of what has ended.
//
// A task is started by one request and looked at, waited for and cancelled by others; whoever started it need not stay. Tasks
// live in memory: they end with their node, and so each kind of operation must be one that can simply be begun anew.
package task

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// State is how a task stands.
type State uint8

// States. All but Running are final.
const (
	Running State = iota
	// Done: all of it was carried out.
	Done
	// Failed: some or all of it was not; Task.Error says why, the parts say what.
	Failed
	// Cancelled by somebody, or by its node when that stopped.
	Cancelled
)

// String returns "running", "done", "failed" or "cancelled".
func (s State) String() string {
	if s > Cancelled {
		return "unknown"
	}
	return [...]string{"running", "done", "failed", "cancelled"}[s]
}

// Argument is one of the things that a task was told, as text.
type Argument struct{ Name, Value string }

// Counter is how far a task has come in one respect. Total is 0 where nobody knows how much there will be.
type Counter struct {
	Name        string
	Done, Total int64
}

// Part is a piece of the work that has ended, such as what two nodes had to do with each other.
type Part struct {
	// Nodes are the names of the nodes that it was about.
	Nodes []string
	// Counters are what was done.
	Counters []Counter
	// Error says why it was not carried out, or not to its end; empty if it was.
	Error string
}

// Task is one as it is at a moment. It is the caller's own.
type Task struct {
	// ID is unique in the cluster: the name of the task's node, a colon, and what tells its tasks apart.
	ID   string
	Kind string
	// Arguments are in the order in which they were given.
	Arguments []Argument
	State     State
	// Ended is zero while the task runs.
	Started, Ended time.Time
	// Counters are in the order in which they were first set.
	Counters []Counter
	// Parts are those that have ended, in that order. PartsLeftOut counts further ones, for which there was no room.
	Parts        []Part
	PartsLeftOut int
	// Error says why a task failed.
	Error string
	// Version grows with every change.
	Version uint64
}

// clone returns a copy that shares nothing which changes. Parts don't change once they are there.
func (t *Task) clone() Task {
	c := *t
	c.Arguments, c.Counters, c.Parts = slices.Clone(t.Arguments), slices.Clone(t.Counters), slices.Clone(t.Parts)
	return c
}

// counter finds a counter by name, or adds it.
func (t *Task) counter(name string) *Counter {
	i := slices.IndexFunc(t.Counters, func(c Counter) bool { return c.Name == name })
	if i < 0 {
		i = len(t.Counters)
		t.Counters = append(t.Counters, Counter{Name: name})
	}
	return &t.Counters[i]
}

// newestFirst orders tasks by when they were started. Ids of one node grow with that, so that none come in turns.
func newestFirst(tasks map[string]*entry) []*entry {
	return slices.SortedFunc(maps.Values(tasks), func(a, b *entry) int {
		if c := b.task.Started.Compare(a.task.Started); c != 0 {
			return c
		}
		return strings.Compare(b.task.ID, a.task.ID)
	})
}
