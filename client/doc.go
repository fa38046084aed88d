// Package client talks to a Starling cluster.
//
// Open a Client once and share it: it is safe for concurrent use, keeps one connection per node, and knows the ring, so
// that a call goes straight to a live owner of its item. Example (Open) shows the way from addresses to a value.
//
//	c, err := client.Open(ctx, []string{"127.0.0.1:7400"})
//	...
//	defer c.Close()
//	key := client.NewKey("cart:42", "")
//	_, err = c.Put(ctx, "default", key, []byte("2 apples"))
//	res, err := c.Get(ctx, "default", key)
//
// An item is addressed by a bucket and a [Key]. The partition key decides which nodes own the item; the sort key
// orders the items that share a partition key, for [Client.Query].
//
// # Consistency
//
// A write waits for W acknowledgements, a read for R answers, of the N replicas that the bucket has. [W], [R] and
// [Consistency] set them for a call, else the bucket's defaults hold. [Sloppy], the default, lets other nodes stand in
// for owners that can't be reached; [Strict] counts owners only. With Strict on both sides and R+W > N a read that
// starts after a write was acknowledged returns it, or what replaced it. [WithDurability] says whether an
// acknowledgement means an fsync.
//
// What was asked for is what happens, or the call fails: the client never lowers a level, and neither do the nodes.
// docs/consistency.md says exactly what each choice promises. [WithExplain] shows for one call who was asked and who
// answered: example (WithExplain).
//
// # Siblings
//
// Two writers that have not seen each other leave two versions of an item, siblings, and a read returns both.
// [Result.Value] fails with [ErrSiblings] rather than choose one. Whoever writes with the context of a read, by
// [WithContext], replaces exactly what that read returned: example (WithContext). A put without a context is a sibling
// of everything that is there, so give one wherever the item may exist.
//
// A [Resolver] makes one value of siblings wherever they are read, for a bucket by [BucketResolver] or for a call by
// [WithResolver]: example (BucketResolver). [MergeValues] makes one of a function that merges two values; [SameValue]
// serves where writers repeat each other. There is none that takes the newest, for that loses writes that were
// acknowledged; a bucket with [ConflictLWW] does just this, without siblings, for values of which only the latest
// matters.
//
// [Client.Update] reads, changes and writes an item with all this in place: example (Client.Update).
//
// # Time to live
//
// [TTL] has the value of a put expire: reads take it for absent from [Written].Expires on, by the clock of the node that
// coordinates them. A bucket may have a default, which TTL and [NoTTL] override. The context of a read that found an item
// expired covers it, so that the next put with it replaces what is left of it.
//
// # Retries and request ids
//
// Each put and delete carries a request id that stays the same over its tries, so that a retry never makes a second
// version. The client tries again by itself, elsewhere if it can, only where that may help and is safe: within the
// deadline of the call, [MaxTries], and a budget that keeps retries a fraction of the traffic. [Client.DropBucket],
// which has no request id, is tried again only if it certainly was not carried out.
//
// A write that failed with [ErrOutcomeUnknown] may or may not take effect. To repeat it with [WithRequestID] and the
// RequestID of its [Error] is safe for a minute: example (WithRequestID). So does a program that must know after a crash
// whether it wrote: it stores an id of [Client.NewRequestID] first.
//
// # Hedging
//
// A get that takes twice as long as nineteen of twenty do is sent to a second node as well, and the first answer counts;
// the other node is told, or its answer dropped. At most one get in twenty is sent twice ([HedgeShare]), and none while
// many calls have to be tried again. Writes are never hedged, and neither is what is about many items.
//
// # Deadlines
//
// Each call is bounded: by its [Timeout], else by the deadline of its context, else by [DefaultCallTimeout] of the
// Client. If both are given the earlier one counts. It is sent along, so that nodes stop working for a caller who has
// gone. The bound holds for all tries together; a try gets a part of it, so that a node that hangs leaves time for
// others. For queries and scans a Timeout bounds each page.
//
// # Errors
//
// Every error of a call is an *[Error]. By errors.Is it matches what it is: a sentinel of this package, and
// context.Canceled or context.DeadlineExceeded if that ended it. By errors.As it tells the counts of replicas (required,
// received, live), which replicas failed and why, the node, the request id and the number of tries: example (Error). Of
// a failed write ask first:
//
//   - [ErrOutcomeUnknown]: it may have taken effect. Repeat it with its request id, or read.
//   - anything else: nothing was written. With [ErrUnavailable], [ErrOverloaded] or [ErrConnect] it may work later.
//
// An item that is not there is no error of the call: see [Result.Found].
//
// # Batches
//
// [Client.BatchPut] and [Client.BatchGet] take any number of items, group them by the nodes that own them, and give
// each item its own outcome: example (Client.BatchPut). They save round trips. They are no transactions.
//
// # Iteration
//
// [Client.Query] and [Client.Scan] yield pages, [Items] makes single items of these: example (Client.Query). A page
// comes with a token, Resume. Given to another call, in this process or another, at once or later, it goes on behind the
// page; keep it after the page has been dealt with, and an interruption repeats one page at most: example
// (Client.Scan). To go on right behind one item of a Query, ask from its sort key with a zero byte appended.
//
// When a node fails, both go on from another by themselves. Neither is a snapshot.
//
// # Testing
//
// Package clienttest runs a real cluster inside a test, with nodes to kill and links to cut.
package client
