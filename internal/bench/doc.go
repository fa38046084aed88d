// Package bench generates load, keeps time and counts: the part of `starling bench` that knows no database. It has the
// core workloads of YCSB (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010), the distributions
// that they draw items from, closed and open loops, histograms of latency, and the reading of nodes' metrics.
//
// What is measured comes in as a Target, a function that carries out one operation. Everything that is random follows
// from a seed.
package bench
