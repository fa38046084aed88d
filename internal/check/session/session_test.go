package session_test

import (
	"testing"

	"github.com/starling-db/starling/internal/check/session"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

func TestCheck(t *testing.T) {
	story.Expect(t, session.Check, []story.Case{
		{Name: "fresh", Tell: func(s *story.Story) { s.Put("a"); s.Read("a"); s.Put("b", "a"); s.Read("b") }},
		{Name: "a successor", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Put("c", "b").Outcome = history.Unknown
			s.Read("c")
		}},
		{Name: "not over yet", Tell: func(s *story.Story) { s.Put("a").End += 5 * story.Step; s.Read() }},
		{Name: "over at the same time elsewhere", Tell: func(s *story.Story) { s.Put("a").End += story.Step; s.Read() }},
		{Name: "too small a W", Tell: func(s *story.Story) { s.Put("a").Quorum = 1; s.Read() }},
		{Name: "too small an R", Tell: func(s *story.Story) { s.Put("a"); s.Read("a"); s.Read().Quorum = 1 }},
		{Name: "a sloppy write", Tell: func(s *story.Story) { s.Put("a").Strict = false; s.Read() }},
		{Name: "a sloppy read", Tell: func(s *story.Story) { s.Put("a"); s.Read().Strict = false }},
		{Name: "shown by all, missed by a quorum", Tell: func(s *story.Story) { // it was joined, and needs one holder
			s.Put("a").Outcome = history.Unknown
			s.Read("a").Quorum = 3
			s.Read()
		}},
		{Name: "deleted", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.Read() }},
		{Name: "perhaps deleted", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d").Outcome = history.Unknown; s.Read() }},
		{Name: "deleted meanwhile", Tell: func(s *story.Story) {
			s.Put("a")
			s.Read().End += 2 * story.Step
			s.Delete("d")
		}},
		{Name: "disks lost", Tell: func(s *story.Story) { s.Put("a"); s.Read() }, Edit: func(run *history.Run) { run.DisksLost = 1 }},
		{Name: "a crash took memory", Tell: func(s *story.Story) { s.Put("a").Memory = true; s.Read("a"); s.Read() },
			Edit: func(run *history.Run) { run.Crashes = 1 }},
		{Name: "last write wins", Policy: history.LWW, Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b").Dot.HLC = 50 // by a clock that is behind
			s.Read("a")
			s.Delete("d")
			s.Read()
		}},

		{Name: "stale", Tell: func(s *story.Story) { s.Put("a"); s.Read() }, Want: "(operation 1): stale read"},
		{Name: "stale beside a sibling", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.Read("b") }, Want: "misses put a"},
		{Name: "stale behind a successor", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a"); s.Read("a") }, Want: "misses put b"},
		{Name: "old sibling lost", Tell: func(s *story.Story) {
			s.Put("x")
			s.Put("a")
			s.Put("b", "a")
			s.Put("c", "b")
			s.Read("c")
		}, Want: "misses put x"},
		{Name: "another W", Tell: func(s *story.Story) {
			a := s.Put("a")
			a.Quorum, a.Acks = 3, 3
			s.Read().Quorum = 1
		}, Want: "misses put a"},
		{Name: "one's own", Tell: func(s *story.Story) { s.Put("a"); s.Read().Session = 0 }, Want: "does not read its own write"},
		{Name: "one's own at once", Tell: func(s *story.Story) {
			s.Put("a").End += story.Step
			s.Read().Session = 0
		}, Want: "does not read its own write"},
		{Name: "back in time", Tell: func(s *story.Story) {
			s.Put("a").Outcome = history.Unknown
			s.Read("a").Session = 2
			s.Read()
		}, Want: "a read goes back in time"},
		{Name: "back in time in a session", Tell: func(s *story.Story) {
			s.Put("a").Outcome = history.Unknown
			s.Read("a")
			s.Read()
		}, Want: "a session's reads go back"},
		{Name: "back to before a delete", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.Read("a") }, Want: "misses delete d"},
		{Name: "gone after a delete", Tell: func(s *story.Story) { s.Delete("d"); s.Put("a"); s.Read() }, Want: "misses put a"},
		{Name: "gone before a delete", Tell: func(s *story.Story) { s.Put("a"); s.Read(); s.Delete("d", "a") }, Want: "misses put a"},
		{Name: "a lower dot", Policy: history.LWW, Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.Read("a") }, Want: "misses put b"},
		{Name: "no dot", Policy: history.LWW, Tell: func(s *story.Story) { s.Delete("d"); s.Put("b"); s.Read() }, Want: "misses put b"},
		{Name: "back to a lower dot", Policy: history.LWW, Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b").Strict = false
			s.Read("b")
			s.Read("a")
		}, Want: "reads go back in time"},
		{Name: "an old tombstone", Policy: history.LWW, Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.Read("a") }, Want: "misses delete d"},
	})
}
