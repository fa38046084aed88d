//go:build unix

// Package proctest runs clusters of real `starling server` processes on loopback, for tests of what only processes
// can show: kill -9, SIGSTOP, locks on directories, exit codes. Each cluster has directories and ports of its own,
// and nothing of it outlives the test, not even when the test's own process is killed.
package proctest
