package task

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	// ErrUnknown: no task of that id is kept here. It may have ended long ago, or before a restart of the node.
	ErrUnknown = errors.New("no such task: it may have ended long ago, or with a restart of its node (starling task list)")
	// ErrTooMany: as many tasks run as may at once.
	ErrTooMany = errors.New("too many tasks run at once: wait for one, or cancel one (starling task list)")
	// ErrClosed: the node stops.
	ErrClosed = errors.New("task: the registry is closed")
)

// Options are what a Registry is made of.
type Options struct {
	// Node is the name of the node whose tasks these are; it is part of their ids. Required.
	Node string
	// Now is the wall clock: time.Now.
	Now func() time.Time
	// MaxRunning bounds the tasks that run at once: 16. MaxEnded bounds those that are kept after their end, the last ones: 100.
	MaxRunning, MaxEnded int
	// MaxParts bounds the parts that are kept of a task: 10,000.
	MaxParts int
}

// EnsureDefaults fills the fields that have a default.
func (o *Options) EnsureDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&o.MaxRunning, 16}, {&o.MaxEnded, 100}, {&o.MaxParts, 10_000}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// Validate reports the first field that can't be.
func (o *Options) Validate() error {
	switch {
	case o.Node == "" || strings.Contains(o.Node, separator):
		return fmt.Errorf("task: %q can't be part of ids", o.Node)
	case o.MaxRunning < 0 || o.MaxEnded < 0 || o.MaxParts < 0:
		return errors.New("task: a bound is negative")
	}
	return nil
}

// separator stands between the two parts of an id. Names of nodes have none.
const separator = ":"

// NodeOf is the name of the node that an id names; false if it is no id.
func NodeOf(id string) (node string, ok bool) {
	node, rest, ok := strings.Cut(id, separator)
	return node, ok && node != "" && rest != ""
}

// Registry keeps the tasks of a node. It is safe for concurrent use.
type Registry struct {
	o       Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // one for each task that runs

	mu     sync.Mutex
	closed bool
	last   int64 // of the numbers in ids
	active int
	tasks  map[string]*entry
}

// entry is a task with what belongs to it alone. All but cancel is under the registry's lock.
type entry struct {
	task   Task
	cancel context.CancelFunc
	// cancelled: somebody asked for the end.
	cancelled bool
	// changed is closed at the next change; nil while nobody waits for one.
	changed chan struct{}
}

// New checks the options. Close the Registry.
func New(o Options) (*Registry, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &Registry{o: o, tasks: make(map[string]*entry)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Start runs an operation as a task, on a goroutine of its own, and returns the task. The operation must end soon after its
// context has: that is how it is cancelled. What it returns decides the state: nil is Done; any error is Failed, or Cancelled
// if the task was. Errors of Start are ErrTooMany and ErrClosed.
func (r *Registry) Start(kind string, arguments []Argument, run func(ctx context.Context, p *Progress) error) (Task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return Task{}, ErrClosed
	case r.active >= r.o.MaxRunning:
		return Task{}, ErrTooMany
	}
	now := r.o.Now()
	ctx, cancel := context.WithCancel(r.ctx)
	e := &entry{cancel: cancel, task: Task{
		ID: r.newID(now), Kind: kind, Arguments: append([]Argument(nil), arguments...), Started: now, Version: 1,
	}}
	r.tasks[e.task.ID] = e
	r.active++
	r.running.Go(func() {
		defer cancel()
		r.end(e, run(ctx, &Progress{r, e}))
	})
	return e.task.clone(), nil
}

// newID makes an id of the time, so that a restarted node gives out none that it gave out before. Ids grow.
func (r *Registry) newID(now time.Time) string {
	r.last = max(r.last+1, now.UnixMilli())
	return r.o.Node + separator + strconv.FormatInt(r.last, 36)
}

// end notes what came of a task, and forgets the oldest ones that have ended.
func (r *Registry) end(e *entry, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active--
	t := &e.task
	t.Ended = r.o.Now()
	switch {
	case err == nil:
		t.State = Done
	case e.cancelled || r.closed:
		t.State = Cancelled
	default:
		t.State, t.Error = Failed, err.Error()
	}
	e.tell()
	ended := 0
	for _, old := range newestFirst(r.tasks) {
		if old.task.State == Running {
			continue
		}
		if ended++; ended > r.o.MaxEnded {
			delete(r.tasks, old.task.ID)
		}
	}
}

// tell wakes whoever waits for a change. The registry's lock is held.
func (e *entry) tell() {
	e.task.Version++
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// List returns all tasks, the one started last first.
func (r *Registry) List() []Task {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Task, 0, len(r.tasks))
	for _, e := range newestFirst(r.tasks) {
		out = append(out, e.task.clone())
	}
	return out
}

// Get returns a task as it is, or ErrUnknown.
func (r *Registry) Get(id string) (Task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.tasks[id]
	if e == nil {
		return Task{}, ErrUnknown
	}
	return e.task.clone(), nil
}

// Wait waits until a task has another version than the one known, has ended, or ctx is done, and returns it as it is then.
// That nothing changed in time is no error: the version tells. The only error is ErrUnknown.
func (r *Registry) Wait(ctx context.Context, id string, known uint64) (Task, error) {
	for {
		r.mu.Lock()
		e := r.tasks[id]
		if e == nil {
			r.mu.Unlock()
			return Task{}, ErrUnknown
		}
		now := e.task.clone()
		if now.Version != known || now.State != Running || ctx.Err() != nil {
			r.mu.Unlock()
			return now, nil
		}
		if e.changed == nil {
			e.changed = make(chan struct{})
		}
		changed := e.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Cancel asks a task to end, and returns it as it is: it may run on for a moment, which Wait tells. Cancelling one that has
// ended changes nothing. The only error is ErrUnknown.
func (r *Registry) Cancel(id string) (Task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.tasks[id]
	if e == nil {
		return Task{}, ErrUnknown
	}
	if e.task.State == Running {
		e.cancelled = true
		e.cancel()
	}
	return e.task.clone(), nil
}

// Close cancels all tasks and waits for them. They can still be looked at.
func (r *Registry) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.running.Wait()
}
