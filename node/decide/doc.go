// Package decide has the next epoch of the ring decided among the nodes: it drives the machines of package paxos, keeps
// this node's promises on disk, and talks to the other acceptors, the members of the layout in force.
//
// A Decider is an acceptor, if its node is one, and proposes. Decided epochs are kept by package state, and travel as its
// documents do: an acceptor finds out there which instance is open, and a proposer that hears that its number is taken
// gets the document. So nothing has to be told twice, and no node learns of an epoch without what the document held that
// led to it.
package decide
