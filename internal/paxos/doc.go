// Package paxos decides one value per instance among a fixed set of acceptors, whatever messages are lost, late or
// doubled and whoever crashes: single-decree Paxos (the Synod), one instance for each epoch of the ring. Values are
// opaque bytes.
//
// It holds three state machines and no I/O, clock, goroutine or randomness. An Acceptor answers requests and says what
// must be on disk before the answer leaves. A Proposer is fed with answers and says what to send next. A Learner counts
// what acceptors have accepted. None is safe for concurrent use.
//
// # Rules
//
// A ballot names one attempt of one proposer. An acceptor that has promised a ballot takes no lower one. A proposer
// whose ballot a majority has promised proposes the value that was accepted at the highest ballot among those promises,
// and its own only if there is none. A value is chosen once a majority has accepted it at one ballot; two majorities
// share an acceptor, so every later ballot finds it.
//
// # What the shell owes
//
//   - Records are written in the order in which an Acceptor returned them, and an answer leaves when its record is
//     synced. A write that fails ends the acceptor: what is on disk is then unknown.
//   - What was decided is synced before Acceptor.Decided hears of it.
//   - A proposer runs at one of the acceptors, and asks it through the same door as any other proposer. Its first
//     message goes to that acceptor alone, whose promise on disk is what keeps its ballots from being used again after
//     a restart. A reply goes to the Proposer that asked, never to a later one of the same node.
//   - An acceptor whose disk was put back to an older image has forgotten promises: it must abstain until the instance
//     that it may have taken part in is decided.
//   - A pause between attempts that grows and is drawn at random; without one, two proposers may preempt each other for
//     ever.
package paxos
