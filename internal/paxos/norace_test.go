//go:build !race

package paxos

// raced: the race detector is on, and makes walks six times as long.
const raced = false
