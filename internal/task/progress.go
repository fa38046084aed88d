package task

import "slices"

// Progress is by what an operation says how far it has come. It is safe for concurrent use.
type Progress struct {
	r *Registry
	e *entry
}

// Total says how much there is to do in one respect.
func (p *Progress) Total(name string, total int64) {
	p.change(func(t *Task) { t.counter(name).Total = total })
}

// Add says how much more was done, in one respect each.
func (p *Progress) Add(done ...Counter) {
	p.change(func(t *Task) {
		for _, c := range done {
			t.counter(c.Name).Done += c.Done
		}
	})
}

// End says that a part of the work has ended. The part is the registry's from then on.
func (p *Progress) End(part Part) {
	part.Nodes, part.Counters = slices.Clip(part.Nodes), slices.Clip(part.Counters)
	p.change(func(t *Task) {
		if len(t.Parts) >= p.r.o.MaxParts {
			t.PartsLeftOut++
			return
		}
		t.Parts = append(t.Parts, part)
	})
}

func (p *Progress) change(f func(*Task)) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	f(&p.e.task)
	p.e.tell()
}
