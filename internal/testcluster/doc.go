// Package testcluster runs whole clusters inside one test: real nodes, talking over loopback, on disks in memory or
// in a temporary directory. A test can cut and delay the links between nodes, one-way or both ways, set a node's
// clock off, stop, crash and restart nodes, and look into their storage. At the end it proves that nothing of the
// cluster is left running.
package testcluster
