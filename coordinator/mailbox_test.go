package coordinator

import (
	"errors"
	"sync"
	"testing"
)

// letters is a run that counts what it takes. Nothing guards its fields but the mailbox: the race detector would tell.
type letters struct {
	mailbox
	due, taken, lost int
	ended            chan struct{}
}

func newLetters(c *Coordinator, due int) *letters {
	l := &letters{mailbox: newMailbox(c), due: due, ended: make(chan struct{})}
	l.mailbox.take = func(ev event) bool { return l.accept(ev) }
	l.mailbox.end = func() { close(l.ended) }
	l.mailbox.lost = func() []event {
		out := make([]event, l.due)
		for i := range out {
			out[i].err = ErrClosed
		}
		return out
	}
	return l
}

func (l *letters) accept(ev event) bool {
	l.due--
	l.taken++
	if errors.Is(ev.err, ErrClosed) {
		l.lost++
	}
	return l.due == 0
}

// TestMailbox: each answer is taken once, by one goroutine at a time, whether it comes while the request runs, as it
// leaves, or later.
func TestMailbox(t *testing.T) {
	c := New(Options{})
	defer c.Close()
	const due = 8
	for round := range 2000 {
		l := newLetters(c, due)
		var senders sync.WaitGroup
		for i := range due {
			senders.Go(func() { l.put(event{place: i}) })
		}
		for range round % due { // as many as the request waits for
			for ev, ok := l.next(); ; ev, ok = l.next() {
				if ok {
					l.accept(ev)
					break
				}
				<-l.ready
			}
		}
		l.leave()
		senders.Wait()
		<-l.ended
		if l.taken != due || l.lost != 0 {
			t.Fatalf("round %d: took %d of %d, %d lost", round, l.taken, due, l.lost)
		}
		l.put(event{}) // twice, and too late
		if l.taken != due {
			t.Fatal("took what came after the end")
		}
	}
}

// TestMailboxOfACoordinatorThatCloses: what never comes is given up, before, while and after the request leaves.
func TestMailboxOfACoordinatorThatCloses(t *testing.T) {
	for round := range 500 {
		c := New(Options{})
		l := newLetters(c, 3)
		var others sync.WaitGroup
		others.Go(func() { l.put(event{}) })
		if err := c.enter(); err != nil {
			t.Fatal(err)
		}
		others.Go(c.Close)
		if round%2 == 0 {
			<-l.ready
		}
		l.leave()
		c.running.Done()
		others.Wait() // Close has waited for the end
		<-l.ended
		if l.taken != 3 || l.lost == 0 {
			t.Fatalf("round %d: took %d of 3, %d lost", round, l.taken, l.lost)
		}
	}
}
