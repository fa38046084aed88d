// Package ring says which nodes own what: tokens, partitions, layouts and the planner that makes
// them, preference lists, and epochs with the fence that keeps requests of an old ring apart from
// those of a new one. It says how one epoch follows another, what a move would do, and when it may
// be committed.
//
// Everything in it is a pure function of its arguments: no I/O, no clock, no goroutine, and no
// randomness but a reader that the caller passes to NewNodeID. Layouts and epochs are immutable
// once made, so that all requests of a node may share them through one atomic pointer.
//
// # Owner lists and preference lists
//
// A layout keeps one ordered list of owners for each partition, as long as the largest N that it
// serves. The owners for a smaller N are a prefix of it, so buckets with different N share one
// layout, and the planner balances every prefix. The preference list goes on from there: first the
// rest of the owner list, then the nodes met on the owner lists of the partitions that follow
// clockwise. It is one order of all members, whatever N is asked: the first fallback for N is the
// owner that N+1 would add.
//
// # Zones
//
// Positions of a list are cut into rounds. In each round every zone that still has an unused node
// appears exactly once. So the first N owners are in N distinct zones where there are that many,
// and where there are fewer no zone holds more copies than it must.
package ring
