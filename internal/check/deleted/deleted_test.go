package deleted_test

import (
	"testing"

	"github.com/starling-db/starling/internal/check/deleted"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

func TestCheck(t *testing.T) {
	story.Expect(t, deleted.Check, []story.Case{
		{Name: "gone", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a"); s.Read(); s.End("d") }},
		{Name: "made anew", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a"); s.Put("b", "d"); s.Read("b"); s.End("b") }},
		{Name: "not seen", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b")
			s.Delete("d", "a")
			s.Read("b", "d")
			s.End("b", "d")
		}},
		{Name: "written meanwhile", Tell: func(s *story.Story) {
			s.Put("a").End += 2 * story.Step
			s.Delete("d")
			s.Read("a", "d")
			s.End("a", "d")
		}},
		{Name: "perhaps not deleted", Tell: func(s *story.Story) {
			s.Put("a")
			s.Delete("d", "a").Outcome = history.Unknown
			s.Read("a")
			s.End("a")
		}},
		{Name: "a read from before", Tell: func(s *story.Story) {
			s.Put("a")
			s.Read("a").End += 10 * story.Step
			s.Delete("d", "a")
			s.End("d")
		}},
		{Name: "sloppy", Tell: func(s *story.Story) {
			s.Put("a")
			s.Delete("d", "a").Strict = false
			s.Read("a")
			s.End("d")
		}},
		{Name: "a sloppy delete of what it may not have read", Tell: func(s *story.Story) {
			s.Put("a")
			s.Delete("d").Strict = false
			s.End("a", "d")
		}},
		{Name: "a delete into memory", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a").Memory = true; s.End("a") },
			Edit: func(run *history.Run) { run.Crashes = 1 }},
		{Name: "last write wins", Policy: history.LWW, Tell: func(s *story.Story) {
			s.Put("a")
			s.Delete("d")
			s.Read()
			s.Put("b")
			s.Read("b")
			s.End("b")
		}},

		{Name: "back", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a"); s.Read("a") }, Want: "(operation 2): a strict read shows a"},
		{Name: "back at the end", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a"); s.End("a") }, Want: "the last read shows a"},
		{Name: "back on an owner", Tell: func(s *story.Story) {
			s.Put("a")
			s.Delete("d", "a")
			s.End("d").Copies[1].Versions = s.Versions("a")
		}, Want: "owner n2 shows a"},
		{Name: "back after all", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.Read("a") }, Want: "delete d (operation 1) had deleted"},
		{Name: "back beside the tombstone", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.End("a", "d") }, Want: "the last read shows a"},
		{Name: "an ancestor back", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a")
			s.Delete("d", "b")
			s.Put("c", "d")
			s.End("a", "c")
		}, Want: "shows a"},
		{Name: "an unknown one back", Tell: func(s *story.Story) {
			s.Put("a").Outcome = history.Unknown
			s.Read("a")
			s.Delete("d", "a")
			s.End("a")
		}, Want: "shows a"},
		{Name: "back where the last write wins", Policy: history.LWW, Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.Read("a") },
			Want: "(operation 2): a strict read shows a"},
		{Name: "back at the end where the last write wins", Policy: history.LWW,
			Tell: func(s *story.Story) { s.Put("a"); s.Delete("d").Strict = false; s.End("a") }, Want: "the last read shows a"},
	})
}
