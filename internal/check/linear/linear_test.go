package linear_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/check/linear"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

// onRegister calls the story's item a register.
func onRegister(run *history.Run) []history.Violation {
	for i := range run.Ops {
		run.Ops[i].Key.Partition = "register-1"
	}
	return linear.Check(run)
}

func TestCheck(t *testing.T) {
	story.Expect(t, onRegister, []story.Case{
		{Name: "in order", Tell: func(s *story.Story) { s.Read(); s.Put("a"); s.Read("a"); s.Put("b", "a"); s.Read("b") }},
		{Name: "while written", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").End += 10 * story.Step
			s.Read("a")
			s.Read("b")
			s.Read("b")
		}},
		{Name: "unknown, seen late", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Read("a")
			s.Read("b")
		}},
		{Name: "unknown, never seen", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Read("a")
			s.Put("c", "a")
			s.Read("c")
		}},
		{Name: "deleted", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a"); s.Read(); s.Put("b", "d"); s.Read("b") }},
		{Name: "apart for a while", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Put("c", "a")
			s.Read("c") // what is shown while b and c are apart is not judged
			s.Read("b", "c")
			s.Read("c")
			s.Put("d", "b", "c")
			s.Read("d")
		}},
		{Name: "other levels", Tell: func(s *story.Story) {
			s.Put("a").Quorum = 1
			s.Read()
			s.Read("a").Quorum = 1
			s.Read().Quorum = 1
		}},
		{Name: "disks lost", Tell: func(s *story.Story) { s.Put("a"); s.Read() }, Edit: func(run *history.Run) { run.DisksLost = 1 }},
		{Name: "memory lost", Tell: func(s *story.Story) { s.Put("a").Memory = true; s.Read() },
			Edit: func(run *history.Run) { run.Crashes = 1 }},
		{Name: "highest dot", Policy: history.LWW, Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b").Dot.HLC = 50
			s.Read("a")
			s.Delete("d")
			s.Read()
			s.Put("c")
			s.Read("c")
		}},
		{Name: "a hidden tombstone", Policy: history.LWW, Tell: func(s *story.Story) {
			s.Put("a")
			d := s.Delete("d")
			d.Outcome, d.Dot.HLC, d.Dot.Actor = history.Unknown, 0, 0
			s.Read("a")
			s.Read()
			s.Put("b")
			s.Read("b")
		}},

		{Name: "stale", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a"); s.Read("a") }, Want: "(operation 2): not linearizable"},
		{Name: "never", Tell: func(s *story.Story) { s.Put("a"); s.Read(); s.Read("a") }, Want: "(operation 1): not linearizable"},
		{Name: "back and forth", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").End += 20 * story.Step
			s.Read("a")
			s.Read("b")
			s.Read("a")
			s.Read("b")
		}, Want: "(operation 4): not linearizable"},
		{Name: "two at once", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a"); s.Read("a", "b") }, Want: "this one shows [a"},
		{Name: "too early", Tell: func(s *story.Story) {
			s.Put("a")
			s.Read("b").Versions[0].Value = "value b"
			s.Put("b", "a")
		}, Want: "(operation 1)"},
		{Name: "an old unknown write", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Read("b")
			s.Put("c", "b")
			s.Read("b")
		}, Want: "(operation 4)"},
		{Name: "apart, then wrong", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Put("c", "a")
			s.Read("b", "c")
			s.Put("d", "b", "c")
			s.Read("b", "c")
		}, Want: "(operation 5)"},
		{Name: "wrong, then apart", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a")
			s.Read("a")
			s.Put("c").Outcome = history.Unknown
			s.Read("b", "c")
		}, Want: "(operation 2)"},
		{Name: "a value after its delete", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a"); s.Read("a") }, Want: "(operation 2)"},
		{Name: "a lower dot", Policy: history.LWW, Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.Read("a") }, Want: "(operation 2)"},
		{Name: "a lower dot after a higher", Policy: history.LWW, Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b").Outcome = history.Unknown
			s.Read("b")
			s.Read("a")
		}, Want: "(operation 3)"},
	})
}

// Writes that may come at any time must not make the search endless.
func TestManyUnknown(t *testing.T) {
	for _, policy := range []history.Policy{history.Siblings, history.LWW} {
		s := story.New(policy)
		s.Put("w0")
		for i := 1; i < 400; i++ {
			w := s.Put(fmt.Sprintf("w%d", i), fmt.Sprintf("w%d", i-1))
			if i%2 == 1 {
				w.Outcome = history.Unknown
			}
			if i%4 < 2 {
				s.Read(fmt.Sprintf("w%d", i))
			}
		}
		run := s.Run()
		for i := range run.Ops {
			run.Ops[i].Key.Partition = "register"
		}
		start := time.Now()
		violations, undecided := linear.Decide(run, time.Minute)
		if len(violations) > 0 || len(undecided) > 0 || time.Since(start) > 30*time.Second {
			t.Errorf("%s: %v, undecided %v after %v", policy, violations, undecided, time.Since(start))
		}
	}
}

func TestUndecided(t *testing.T) {
	s := story.New(history.LWW)
	for i := range 2000 { // all at once: nothing is decided in a nanosecond
		s.Put(fmt.Sprintf("w%d", i)).End += time.Hour
		s.Read(fmt.Sprintf("w%d", i)).Start = 0
	}
	run := s.Run()
	for i := range run.Ops {
		run.Ops[i].Key.Partition = "register"
	}
	if violations, undecided := linear.Decide(run, time.Nanosecond); len(violations) > 0 || len(undecided) != 1 {
		t.Errorf("%v, undecided %v, want no verdict", violations, undecided)
	}
}
