package converged_test

import (
	"testing"
	"time"

	"github.com/starling-db/starling/internal/check/converged"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

func TestCheck(t *testing.T) {
	stray := func(s *story.Story) {
		s.Put("a")
		f := s.End("a")
		f.Copies = append(f.Copies, history.Copy{Node: "n4", State: []byte("a"), Versions: s.Versions("a")})
	}
	story.Expect(t, converged.Check, []story.Case{
		{Name: "at rest", Tell: func(s *story.Story) { s.Put("a"); s.End("a") }, Edit: func(run *history.Run) {
			run.HintsLeft, run.HealedAfter = map[string]int{"n1": 0}, converged.Within
			run.Finals[0].Copies = append(run.Finals[0].Copies, history.Copy{Node: "n4"})
		}},
		{Name: "nobody looked", Tell: func(s *story.Story) { s.Put("a"); s.End("a").Copies = nil }},
		{Name: "a node is gone", Tell: stray, Edit: func(run *history.Run) {
			run.Gone, run.HintsLeft, run.HealedAfter = []string{"n5"}, map[string]int{"n4": 7}, time.Hour
		}},

		{Name: "pasts differ", Tell: func(s *story.Story) { s.Put("a"); s.End("a").Copies[2].State = []byte("b") }, Want: "owners differ: n1 has 1 bytes"},
		{Name: "one has nothing", Tell: func(s *story.Story) { s.Put("a"); s.End("a").Copies[0].State = nil }, Want: "owners differ: n1 has 0 bytes"},
		{Name: "owners differ though a node is gone", Tell: func(s *story.Story) { s.Put("a"); s.End("a").Copies[0].State = nil },
			Want: "owners differ", Edit: func(run *history.Run) { run.Gone = []string{"n5"} }},
		{Name: "a copy stays", Tell: stray, Want: "n4 is no owner"},
		{Name: "hints stay", Tell: func(*story.Story) {}, Want: "n2 has 3 hints left",
			Edit: func(run *history.Run) { run.HintsLeft = map[string]int{"n1": 0, "n2": 3} }},
		{Name: "too slow", Tell: func(*story.Story) {}, Want: "hints were left for 1m0.001s",
			Edit: func(run *history.Run) { run.HealedAfter = converged.Within + time.Millisecond }},
	})
}
