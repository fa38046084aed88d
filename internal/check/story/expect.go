package story

import (
	"strings"
	"testing"

	"github.com/starling-db/starling/internal/history"
)

// Expect runs a checker on cases.
func Expect(t *testing.T, check func(*history.Run) []history.Violation, cases []Case) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if c.Policy == "" {
				c.Policy = history.Siblings
			}
			s := New(c.Policy)
			c.Tell(s)
			run := s.Run()
			if c.Edit != nil {
				c.Edit(run)
			}
			got := check(run)
			switch {
			case c.Want == "" && len(got) > 0:
				t.Errorf("a false alarm: %v", got)
			case c.Want != "" && len(got) == 0:
				t.Errorf("no violation, want %q", c.Want)
			case c.Want != "" && !strings.Contains(got[0].String(), c.Want):
				t.Errorf("%v, want %q", got, c.Want)
			}
		})
	}
}
