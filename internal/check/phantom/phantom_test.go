package phantom_test

import (
	"testing"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/check/phantom"
	"github.com/starling-db/starling/internal/check/story"
	"github.com/starling-db/starling/internal/history"
)

func TestCheck(t *testing.T) {
	story.Expect(t, phantom.Check, []story.Case{
		{Name: "written", Tell: func(s *story.Story) { s.Put("a"); s.Read("a"); s.Delete("d"); s.Read(); s.End("d") }},
		{Name: "unknown", Tell: func(s *story.Story) { s.Put("a").Outcome = history.Unknown; s.Read("a"); s.End("a") }},
		{Name: "refused and gone", Tell: func(s *story.Story) { s.Put("a").Outcome = history.Refused; s.Read(); s.End() }},
		{Name: "shown while written", Tell: func(s *story.Story) { s.Put("a").End += 5 * story.Step; s.Read("a"); s.End("a") }},
		{Name: "minted twice", Tell: func(s *story.Story) {
			s.Put("a").Tries = 2
			s.Read("a").Versions[0].Dot = causal.Dot{Actor: 2, HLC: 1000}
			s.End("a")
		}},

		{Name: "of nobody", Tell: func(s *story.Story) { s.Put("a"); s.Read("x") }, Want: "(operation 1): a read shows x"},
		{Name: "of nobody at the end", Tell: func(s *story.Story) { s.End("x") }, Want: "which nobody wrote"},
		{Name: "of nobody in a copy", Tell: func(s *story.Story) {
			s.Put("a")
			f := s.End("a")
			f.Copies[2].Versions = s.Versions("x")
		}, Want: "the copy of n3 shows x"},
		{Name: "of another item", Tell: func(s *story.Story) { s.Put("a").Key.Partition = "other"; s.Read("a") }, Want: "written to b/other/"},
		{Name: "refused", Tell: func(s *story.Story) { s.Put("a").Outcome = history.Refused; s.Read("a") }, Want: "was refused (operation 0)"},
		{Name: "refused at the end", Tell: func(s *story.Story) { s.Put("a").Outcome = history.Refused; s.End("a") }, Want: "was refused"},
		{Name: "before it began", Tell: func(s *story.Story) {
			s.Read("a").Versions[0].Dot = causal.Dot{}
			s.Put("a")
		}, Want: "begun only afterwards"},
		{Name: "another value", Tell: func(s *story.Story) { s.Put("a"); s.Read("a").Versions[0].Value = "b" }, Want: `as value "b"`},
		{Name: "a tombstone of a put", Tell: func(s *story.Story) { s.Put("a"); s.Read("a").Versions[0].Tombstone = true }, Want: "tombstone true"},
		{Name: "a value of a delete", Tell: func(s *story.Story) { s.Delete("a"); s.Read("a").Versions[0].Tombstone = false }, Want: "tombstone false"},
		{Name: "one dot for two", Tell: func(s *story.Story) { s.Put("a"); s.Put("b").Dot.HLC = 100 }, Want: "which is of write a"},
		{Name: "one dot for two in a read", Tell: func(s *story.Story) {
			s.Put("a")
			s.Put("b").Outcome = history.Unknown
			s.Read("b").Versions[0].Dot.HLC = 100
		}, Want: "which is of write a"},
		{Name: "twice in one read", Tell: func(s *story.Story) {
			s.Put("a").Tries = 2
			s.Read("a", "a").Versions[1].Dot.HLC = 500
		}, Want: "shows write a twice"},
		{Name: "recorded twice", Tell: func(s *story.Story) { s.Put("a"); s.Put("a") }, Want: "recorded twice"},
		{Name: "a context from nowhere", Tell: func(s *story.Story) { s.Put("a", "x") }, Want: "carried a context of write x"},
	})
}
