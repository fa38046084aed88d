package clienttest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// alone stands in for the test of a cluster that has none. The embedded TB is nil: it has what this package and
// the cluster below call, and all that is wrapped here.
type alone struct {
	testing.TB
	cleanups []func()
	failures []error
}

// failure is what a fatal failure panics with.
type failure struct{ error }

// try runs f and returns its fatal failure.
func (t *alone) try(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.error
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// end runs what was to run at the end of the test, last things first, and returns what failed meanwhile. A second
// call finds nothing left to do.
func (t *alone) end() error {
	for len(t.cleanups) > 0 {
		last := len(t.cleanups) - 1
		f := t.cleanups[last]
		t.cleanups = t.cleanups[:last]
		f()
	}
	err := errors.Join(t.failures...)
	t.failures = nil
	return err
}

func (t *alone) Helper()                   {}
func (t *alone) Cleanup(f func())          { t.cleanups = append(t.cleanups, f) }
func (t *alone) Failed() bool              { return len(t.failures) > 0 }
func (t *alone) Logf(string, ...any)       {}
func (t *alone) Errorf(f string, a ...any) { t.failures = append(t.failures, fmt.Errorf(f, a...)) }
func (t *alone) Fatalf(f string, a ...any) { panic(failure{fmt.Errorf(f, a...)}) }
func (t *alone) Fatal(a ...any)            { panic(failure{errors.New(strings.TrimSpace(fmt.Sprintln(a...)))}) }
