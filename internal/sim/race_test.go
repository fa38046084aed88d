//go:build race

package sim

// defaultSeeds: with the race detector a seed takes much longer.
const defaultSeeds = 8

// crashEvery: TestCrashAtEachStep takes every so many-th step.
const crashEvery = 20
