// Package clienttest runs a real cluster inside a test of yours: the nodes of the server, with their quorums, hints
// and failure detection, in the process of the test. So a test sees what production would show, also what happens
// when nodes die or can't reach each other.
//
//	func TestCart(t *testing.T) {
//		cluster := clienttest.Start(t, clienttest.Options{})
//		c := cluster.Client()
//		...
//		cluster.Kill(0)
//		...
//	}
//
// Start ends the cluster with the test. Open and Close do without a test, for a cluster that all tests of a package
// share (in TestMain) or for an example.
//
// # Faults
//
// Stop, Kill, Partition and Delay take effect at once, and so do Restart and Heal, which undo them. What the nodes
// make of it takes them a while, just as in production: a node that falls silent is known to be dead some seconds
// later, and until then a strict write waits for it and ends with client.ErrOutcomeUnknown; afterwards it is refused
// with client.ErrUnavailable. Settle waits until they have noticed. A test of one behaviour calls it, a test that must
// hold with either does not.
//
// # Limits
//
//   - Data is kept in memory, in what behaves like a disk: after Kill what was not synced may be lost. It is gone
//     when the cluster ends, and large data takes as much of the test's memory.
//   - Nodes listen on free ports of the loopback interface, so anything that speaks to a cluster can use Addrs.
//     Faults concern what nodes send to each other; a client reaches every node that runs.
//   - Delays hold back what nodes send each other, but not gossip, so a slow node is never taken for a dead one.
//   - A cluster of three starts in about a second, and ends in about as long. On a busy machine both take longer:
//     share a cluster where tests can use buckets or keys of their own.
//   - Failure detection runs at the speed of production. Settle may take several seconds.
//   - It says nothing about speed: all nodes share the machine, the process and its memory.
package clienttest
