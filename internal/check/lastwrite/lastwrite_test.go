package lastwrite_test

import (
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check/lastwrite"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

// purged has nodes purge all that is about as old as the stories.
func purged(run *history.Run) { run.PurgedBefore = 1 << 30 }

func TestCheck(t *testing.T) {
	cases := []story.Case{
		{Name: "last", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.End("b") }},
		{Name: "last by the clock", Tell: func(s *story.Story) { s.Put("a"); s.Put("b").Dot.HLC = 50; s.End("a") }},
		{Name: "last by the actor", Tell: func(s *story.Story) { s.Put("a"); s.Put("b").Dot = causal.Dot{Actor: 2, HLC: 100}; s.End("b") }},
		{Name: "unknown and higher", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b").Outcome = history.Unknown
			s.End("b")
		}},
		{Name: "unknown and gone", Tell: func(s *story.Story) {
			s.Put("a")
			b := s.Put("b")
			b.Outcome, b.Dot = history.Unknown, causal.Dot{}
			s.End("a")
		}},
		{Name: "back by a retry", Tell: func(s *story.Story) {
			s.Put("a").Tries = 2
			s.Put("b")
			f := s.End("a")
			f.Copies = nil
			f.Read[0].Dot.HLC = 900
		}},
		{Name: "repeated and replaced", Tell: func(s *story.Story) {
			a := s.Put("a")
			a.Repeated, a.Dot = true, causal.Dot{}
			s.Put("b")
			s.End("b")
		}},
		{Name: "deleted", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.End("d") }},
		{Name: "deleted by the late twin of a delete", Tell: func(s *story.Story) {
			d := s.Delete("d") // the client may have asked a second node meanwhile
			d.Start = d.End - 120*time.Millisecond
			s.Put("a")
			s.End("d").Copies = nil
		}},
		{Name: "deleted, no copies", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.End("d").Copies = nil }},
		{Name: "a later dot than what was seen", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a"); s.End("b") }},
		{Name: "never written", Tell: func(s *story.Story) { s.Put("a").Outcome = history.Refused; s.End() }},
		{Name: "disks lost", Tell: func(s *story.Story) { s.Put("a"); s.End() }, Edit: func(run *history.Run) { run.DisksLost = 2 }},
		{Name: "memory lost", Tell: func(s *story.Story) { s.Put("a").Memory = true; s.End() }, Edit: func(run *history.Run) { run.Crashes = 2 }},

		{Name: "lost", Tell: func(s *story.Story) { s.Put("a"); s.End() }, Want: `lower than 0000000000000001@`},
		{Name: "an older one", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.End("a") }, Want: `of put b ("value b")`},
		{Name: "a lower actor", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b").Dot = causal.Dot{Actor: 2, HLC: 100}
			s.End("a")
		}, Want: "of put b"},
		{Name: "shown and gone", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b").Outcome = history.Unknown
			s.Read("b").Strict = false
			s.End("a")
		}, Want: "of put b"},
		{Name: "two", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.End("a", "b") }, Want: "the last read has 2 versions"},
		{Name: "owners differ", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b").Outcome = history.Unknown
			s.End("a").Copies[2].Versions = s.Versions("b")
		}, Want: "lower than"},
		{Name: "one owner lacks it", Tell: func(s *story.Story) { s.Put("a"); s.End("a").Copies[1].Versions = nil }, Want: "owner n2 has"},
		{Name: "gone after a delete", Tell: func(s *story.Story) { s.Delete("d"); s.Put("a"); s.End("d") }, Want: "of put a"},
		{Name: "gone after a delete, no copies", Tell: func(s *story.Story) { s.Delete("d"); s.Put("a"); s.End("d").Copies = nil }, Want: "of put a"},
		{Name: "back after a delete", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.End("a") }, Want: "of delete d"},
		{Name: "a lower dot than what was seen", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a").Dot.HLC = 50; s.End("a") },
			Want: "had seen a"},
		{Name: "purged with what it deleted, unseen", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.End() }, Edit: purged},
		{Name: "a delete that is too young to be purged", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d").Dot.HLC = 1 << 40; s.End() },
			Edit: purged, Want: "of delete d"},
		{Name: "lost after a delete that is purged", Tell: func(s *story.Story) { s.Delete("d"); s.Put("a"); s.End() }, Edit: purged, Want: "of put a"},
		{Name: "purging takes no values", Tell: func(s *story.Story) { s.Put("a"); s.End() }, Edit: purged, Want: "of put a"},
	}
	for i := range cases {
		cases[i].Policy = history.LWW
	}
	story.Expect(t, lastwrite.Check, append(cases,
		story.Case{Name: "siblings are for others", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.End("a", "b") }},
		story.Case{Name: "dots of siblings", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a").Dot.HLC = 50 }, Want: "had seen a"},
	))
}
