// Package causal knows which write has seen which: hybrid logical clocks, dots, pasts, versions and
// the merge that every replica applies to the states of an item.
//
// The rules in short. A write is named by its [Dot] and by the [RequestID] its client drew; a retry at
// another coordinator makes a second dot with the same request id, and the two are one write. A
// [Version] carries a [Past]: the version vector and the request ids of what its writer had seen. A
// [State] is the set of versions of one item of which none replaces another, and the floor it was read
// under. [Merge] joins two states; it is commutative, associative and idempotent over the states that
// replicas can reach.
//
// Two duties lie with the callers, for no merge can check them:
//
//   - a state travels and is stored whole. Whoever holds the dot (actor, 20) must also hold, or have
//     replaced, (actor, 10): version vectors lie without that;
//   - an [Actor] never mints on a record from which something it minted may be missing. It is drawn
//     anew, at random, whenever the process starts or the record was dropped.
//
// Everything here is pure but for [Clock], which is safe for concurrent use. Pasts, versions and
// states are immutable by convention: functions share what they are given, values above all, and never
// change it.
package causal
