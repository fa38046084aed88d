package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/starling-db/starling/client"
)

// Exit codes.
const (
	exitDone         = 0
	exitFailed       = 1
	exitMisused      = 2
	exitConnect      = 3
	exitPermission   = 4
	exitNotFound     = 5
	exitQuorum       = 6
	exitPrecondition = 7
	exitUnknown      = 8
	exitProblem      = 9
)

// exitMeanings says what the exit codes mean, in their order.
var exitMeanings = []string{
	exitDone:         "done",
	exitFailed:       "failed",
	exitMisused:      "misused: the command line can't be carried out",
	exitConnect:      "cannot connect: no node answers",
	exitPermission:   "not allowed",
	exitNotFound:     "not found",
	exitQuorum:       "quorum not reached, and nothing written",
	exitPrecondition: "precondition failed",
	exitUnknown:      "outcome unknown: a write may or may not take effect",
	exitProblem:      "a check found a problem",
}

// exitHelp lists them for a help text.
func exitHelp() string {
	lines := make([]string, len(exitMeanings))
	for code, meaning := range exitMeanings {
		lines[code] = fmt.Sprintf("    %d  %s", code, meaning)
	}
	return strings.Join(lines, "\n")
}

// usageError is a command line that can't be carried out.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string {
	if e.command == "" {
		return e.err.Error()
	}
	return fmt.Sprintf("%v (see %s --help)", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

func misused(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// silentError sets the exit code when all has been said already.
type silentError struct{ code int }

func (e *silentError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// exitTable maps errors to exit codes; the first match counts.
var exitTable = []struct {
	err  error
	code int
}{
	{client.ErrConnect, exitConnect},
	{errNoAnswer, exitConnect},
	{client.ErrPermission, exitPermission},
	{client.ErrNotFound, exitNotFound},
	{client.ErrUnknownBucket, exitNotFound},
	{client.ErrUnknownTask, exitNotFound},
	{client.ErrOutcomeUnknown, exitUnknown},
	{client.ErrQuorum, exitQuorum},
	{client.ErrTooManySiblings, exitPrecondition},
	{client.ErrBucketExists, exitPrecondition},
	{client.ErrTooOld, exitPrecondition},
	{client.ErrClockOffset, exitPrecondition},
	{client.ErrInvalidArgument, exitMisused},
}

func exitCode(err error) int {
	var silent *silentError
	if errors.As(err, &silent) {
		return silent.code
	}
	if errors.As(err, new(*usageError)) {
		return exitMisused
	}
	if errors.As(err, new(*stepError)) {
		return exitProblem
	}
	for _, row := range exitTable {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return exitFailed
}

// jsonError is an error under -o json.
type jsonError struct {
	Message string `json:"message"`
	Exit    int    `json:"exit"`
	// The rest is there when a node, or the client, gave the error.
	Op       string            `json:"op,omitempty"`
	Addr     string            `json:"addr,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Code     string            `json:"code,omitempty"`
	Required *int              `json:"required,omitempty"`
	Received *int              `json:"received,omitempty"`
	Live     *int              `json:"live,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// fail reports an error and returns the exit code.
func (a *app) fail(err error) int {
	code := exitCode(err)
	if errors.As(err, new(*silentError)) {
		return code
	}
	if a.output == outputJSON {
		a.failJSON(err, code)
		return code
	}
	a.note("starling: %s", strings.TrimSpace(err.Error()))
	if errors.Is(err, client.ErrConnect) {
		a.note("Is a node running at %s? `starling dev` starts a cluster to try things on; --addr names another.", a.addr)
	}
	return code
}

func (a *app) failJSON(err error, code int) {
	out := jsonError{Message: err.Error(), Exit: code}
	var e *client.Error
	if errors.As(err, &e) {
		out.Op, out.Addr, out.Reason, out.Code, out.Message = e.Op, e.Addr, e.Reason, e.Code.String(), e.Message
		out.Metadata = e.Metadata
		if e.Required > 0 {
			out.Required, out.Received, out.Live = &e.Required, &e.Received, &e.Live
		}
	}
	encoder := json.NewEncoder(a.err)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]jsonError{"error": out}) // nowhere is left to report that stderr is closed
}
