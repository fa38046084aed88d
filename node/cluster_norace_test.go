//go:build !race

package node_test

// raced says that the race detector slows the tests down.
const raced = false
