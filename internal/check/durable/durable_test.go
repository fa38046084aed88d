package durable_test

import (
	"testing"

	"github.com/starling-db/starling/internal/check/durable"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

// purged has nodes purge all that is about as old as the stories.
func purged(run *history.Run) { run.PurgedBefore = 1 << 30 }

func TestCheck(t *testing.T) {
	story.Expect(t, durable.Check, []story.Case{
		{Name: "there", Tell: func(s *story.Story) { s.Put("a"); s.End("a") }},
		{Name: "siblings", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.End("a", "b") }},
		{Name: "replaced", Tell: func(s *story.Story) { s.Put("a"); s.Put("b", "a"); s.Put("c", "b"); s.End("c") }},
		{Name: "deleted", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a"); s.End("d") }},
		{Name: "deleted unseen", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.End("d") }},
		{Name: "deleted while written", Tell: func(s *story.Story) {
			s.Put("a").End += 2 * story.Step
			s.Delete("d")
			s.End("d")
		}},
		{Name: "replaced by an unknown write", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.End("b")
		}},
		{Name: "an unknown write that never was", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.End("a")
		}},
		{Name: "a crash took memory", Tell: func(s *story.Story) { s.Put("a").Memory = true; s.End() },
			Edit: func(run *history.Run) { run.Crashes = 1 }},
		{Name: "disks lost", Tell: func(s *story.Story) { s.Put("a"); s.End() },
			Edit: func(run *history.Run) { run.DisksLost = 2 }},
		{Name: "last write wins", Policy: history.LWW, Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.End("b") }},
		{Name: "no copies", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d"); s.End("d").Copies = nil }},

		{Name: "deleted and purged", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a"); s.End() }, Edit: purged},
		{Name: "lost beside a purged delete of another", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.Delete("d", "a"); s.End() },
			Edit: purged, Want: "put b"},
		{Name: "lost, not purged", Tell: func(s *story.Story) { s.Put("a"); s.End() }, Edit: purged, Want: "put a"},
		{Name: "lost", Tell: func(s *story.Story) { s.Put("a"); s.End() }, Want: `(operation 0): put a ("value a") was acknowledged and is lost`},
		{Name: "lost beside a sibling", Tell: func(s *story.Story) { s.Put("a"); s.Put("b"); s.End("b") }, Want: "put a"},
		{Name: "lost on one owner", Tell: func(s *story.Story) {
			s.Put("a")
			s.End("a").Copies[1].Versions = nil
		}, Want: "owner n2 has neither"},
		{Name: "replaced by what never was", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b", "a").Outcome = history.Unknown
			s.Put("c")
			s.End("c")
		}, Want: "put a"},
		{Name: "lost after a delete", Tell: func(s *story.Story) { s.Delete("d"); s.Put("a"); s.End("d") }, Want: "put a"},
		{Name: "lost after a delete, no copies", Tell: func(s *story.Story) {
			s.Put("b")
			s.Delete("d", "b")
			s.Put("a")
			s.End("d").Copies = nil
		}, Want: "put a"},
		{Name: "tombstone lost", Tell: func(s *story.Story) { s.Put("a"); s.Delete("d", "a"); s.End("a") }, Want: "delete d"},
		{Name: "memory without a crash", Tell: func(s *story.Story) { s.Put("a").Memory = true; s.End() }, Want: "put a"},
		{Name: "fewer disks lost than acknowledged", Tell: func(s *story.Story) { s.Put("a"); s.End() }, Want: "put a",
			Edit: func(run *history.Run) { run.DisksLost = 1 }},
		{Name: "shown and gone", Tell: func(s *story.Story) {
			s.Put("a").Outcome = history.Unknown
			s.Read("a")
			s.End()
		}, Want: "was shown by a read and is lost"},
	})
}
