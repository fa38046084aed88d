// Package transport carries requests between nodes: frames of many requests on long-lived gRPC streams,
// replies matched by id, deadlines in the frame, a bound on every queue.
//
// A Pool is the calling side. It holds up to two links to each peer, each with a TCP connection of its own:
// one for what a client waits for, one for bulk, so that a large state never stands in front of a request.
// A link connects when it is first called, and again when it is called after a failure, no sooner than its
// backoff allows; calls in between fail at once with the last error. A Server is the answering side; it hands
// the requests of one frame to its Handler together, so that their writes can share one storage batch.
//
// Both sides say Hello first and check what the other said: a stream between two clusters, or to another node
// than the one that was meant, never carries a request.
//
// What a peer's failure looks like to a caller:
//
//   - killed: the connection breaks; calls fail at once with an UnreachableError that says whether the
//     request may have left this node;
//   - stopped or cut off: calls end at their deadline with an ExpiredError; once the queue is full further
//     ones get an OverloadError; keepalive breaks the connection after some 15 s (gRPC allows clients a ping
//     every 10 s, no sooner);
//   - overloaded: it answers so, as a PeerError with the reason OVERLOADED.
//
// Nothing is sent twice: whether to repeat a request is the caller's decision. (One exception: a read whose
// reply is too large for the request stream is asked again over the bulk stream.)
//
// The passage of time (deadlines, backoff) is measured by package time, never by the wall clock of Options.Now:
// a wrong wall clock must not shorten a deadline.
package transport
