// Package client talks to a Starling cluster.
//
// Open a Client once and share it: it is safe for concurrent use, keeps one connection per node, and
// knows the ring, so that a call goes straight to a live owner of its item.
//
//	c, err := client.Open(ctx, []string{"127.0.0.1:7400"})
//	...
//	defer c.Close()
//	key := client.NewKey("cart:42", "")
//	_, err = c.Put(ctx, "default", key, []byte("2 apples"), client.W(client.Quorum))
//	res, err := c.Get(ctx, "default", key, client.R(client.Quorum))
//
// # Siblings
//
// Two writers that have not seen each other leave two versions, siblings, and a read returns both.
// Whoever writes with the context of that read replaces exactly what it returned:
//
//	if res.Siblings() {
//		_, err = c.Put(ctx, "default", key, merge(res.Versions), client.WithContext(res.Context))
//	}
//
// # Errors and retries
//
// Every error of a call is an *Error, and matches sentinels by errors.Is. Those that matter most:
// ErrUnavailable means that nothing was written; ErrOutcomeUnknown that the write may or may not
// take effect. Each write carries a request id that stays the same over its tries, so that a retry never
// makes a second version. The client tries again, elsewhere if it can, only where that may help and is
// safe, within the deadline of the call and a budget that keeps retries a fraction of the traffic.
// It never lowers the level that was asked for.
package client
