// Package state keeps what a node knows of its cluster: who belongs to it, which epoch its ring is in, and
// which buckets there are.
//
// It is one mergeable document that every member persists. Merging is commutative, associative and
// idempotent, so it does not matter by which way, in which order or how often the nodes exchange theirs; what
// is decided once (the cluster's id, the content of an epoch) is never merged but compared, and a difference
// is an error. A changed document is durable before anything acts on it. What requests need of it is an
// immutable [Snapshot] behind one atomic pointer.
//
// Of the decided epochs it holds the newest, and a short history of how the last ones came about. How an epoch is
// decided is for package node/decide, which has it installed here.
//
// Two things are decided here rather than merged, both by durable votes: the founding of the cluster (all K
// nodes that --bootstrap-expect names vote for one proposal), and the settings of a new bucket (a majority of
// the members vote for one request, so that two rival requests never both succeed).
package state
