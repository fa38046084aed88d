//go:build !race

package sim

const defaultSeeds = 200

// crashEvery: TestCrashAtEachStep takes every so many-th step.
const crashEvery = 1
