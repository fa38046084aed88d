// Package check holds a history against every promise that the store makes. Each checker is a package of its own below
// this one, and says there what it promises not to complain of; package item is what they share, and package story makes
// the histories that they are tried on.
//
// A new checker has a function Check like the others, a place in All, cases of good and bad histories in its own tests,
// and an edit in the tests of this package that breaks a random history for it to find.
package check

import (
	"github.com/starling-db/starling/internal/check/bounds"
	"github.com/starling-db/starling/internal/check/converged"
	"github.com/starling-db/starling/internal/check/counted"
	"github.com/starling-db/starling/internal/check/deleted"
	"github.com/starling-db/starling/internal/check/durable"
	"github.com/starling-db/starling/internal/check/lastwrite"
	"github.com/starling-db/starling/internal/check/linear"
	"github.com/starling-db/starling/internal/check/pasts"
	"github.com/starling-db/starling/internal/check/phantom"
	"github.com/starling-db/starling/internal/check/placement"
	"github.com/starling-db/starling/internal/check/session"
	"github.com/starling-db/starling/internal/check/siblings"
	"github.com/starling-db/starling/internal/history"
)

// All runs every checker.
func All(run *history.Run) (out []history.Violation) {
	for _, check := range []func(*history.Run) []history.Violation{
		phantom.Check, durable.Check, siblings.Check, lastwrite.Check, deleted.Check, session.Check, linear.Check,
		counted.Check, pasts.Check, converged.Check, placement.Check, bounds.Check,
	} {
		out = append(out, check(run)...)
	}
	return out
}
