package siblings_test

import (
	"testing"

	"github.com/starling-db/starling/internal/check/siblings"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

func TestCheck(t *testing.T) {
	story.Expect(t, siblings.Check, []story.Case{
		{Name: "one", Tell: func(s *story.Story) { s.Put("a"); s.Read("a"); s.End("a") }},
		{Name: "two", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.Read("a", "b"); s.End("a", "b") }},
		{Name: "resolved", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.Put("c", "a", "b"); s.Read("c"); s.End("c") }},
		{Name: "a tombstone beside a value", Tell: func(s *story.Story) {
			s.Put("a")
			s.Delete("d", "a")
			s.Put("b", "a")
			s.Read("d", "b")
			s.End("d", "b")
		}},
		{Name: "a delete that raced", Tell: func(s *story.Story) {
			s.Put("a").End += 2 * story.Step
			s.Delete("d")
			s.Read("a", "d")
			s.End("a", "d")
		}},
		{Name: "a sloppy delete", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d").Strict = false; s.End("a", "d") }},
		{Name: "an unknown write shows", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Read("a")
			s.Read("b")
			s.End("b")
		}},
		{Name: "an unknown write doesn't show", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Read("a")
			s.End("a")
		}},
		{Name: "a sloppy read behind", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a")
			s.Read("a").Strict = false
			s.End("b")
		}},
		{Name: "a crash took the coverer", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Memory = true
			s.End("a")
		}, Edit: func(run *history.Run) { run.Crashes = 1 }},

		{Name: "covered at the end", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a"); s.End("a") }, Want: "still has put a"},
		{Name: "covered over a chain", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Put("c", "b")
			s.End("a", "c")
		}, Want: "still has put a"},
		{Name: "covered beside", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a"); s.End("a", "b") }, Want: "still has put a"},
		{Name: "covered by an unknown write beside", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.End("a", "b")
		}, Want: "still has put a"},
		{Name: "covered by what a read has shown", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Read("b").Strict = false
			s.End("a")
		}, Want: "still has put a"},
		{Name: "back after a delete", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.End("a", "d") }, Want: "still has put a"},
		{Name: "on one owner", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a")
			s.End("b").Copies[0].Versions = s.Versions("a", "b")
		}, Want: "owner n1 still has put a"},
		{Name: "twice", Tell: func(s *story.Story) { s.Put("a"); s.End("a", "a") }, Want: "twice"},
		{Name: "missing", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.End("b") }, Want: "lacks put a"},
		{Name: "a missing tombstone", Tell: func(s *story.Story) {
			s.Put("a")
			s.Delete("d", "a")
			s.Put("b")
			s.End("b")
		}, Want: "lacks delete d"},
		{Name: "a read shows both", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a"); s.Read("a", "b").Strict = false },
			Want: "a read shows put a"},
		{Name: "a read shows both over a chain", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a")
			s.Put("c", "b").Outcome = history.Unknown
			s.Read("c", "a").Strict = false
		}, Want: "a read shows put a"},
		{Name: "a read shows what a delete read", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.Read("a", "d").Strict = false },
			Want: "a read shows put a"},
		{Name: "a strict read behind", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a"); s.Read("a") },
			Want: "a strict read at 2 shows put a"},
		{Name: "a strict read behind a delete", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.Read("a") },
			Want: "covered when it began by delete d"},
	})
}
