//go:build race

package sim

// defaultSeeds: with the race detector a seed takes much longer.
const defaultSeeds = 20
