//go:build unix && !race

package proctest

const raced = false
