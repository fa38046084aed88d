package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/client/clienttest"
)

// examples is the cluster that the examples share, which is opened by the first of them and closed by TestMain.
var (
	examples = sync.OnceValue(func() *clienttest.Cluster {
		cluster, err := clienttest.Open(clienttest.Options{})
		if err != nil {
			log.Fatal(err)
		}
		examplesEnd = cluster.Close
		return cluster
	})
	sharedClient = sync.OnceValue(func() *client.Client { return examples().Client() })
	examplesEnd  = func() error { return nil }
)

func ExampleOpen() {
	addrs := examples().Addrs() // "10.0.0.1:7400", "10.0.0.2:7400", ...
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Open(ctx, addrs)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	key := client.NewKey("cart:42", "")
	if _, err := c.Put(ctx, "default", key, []byte("2 apples"), client.W(client.Quorum)); err != nil {
		log.Fatal(err)
	}
	res, err := c.Get(ctx, "default", key, client.R(client.Quorum))
	if err != nil {
		log.Fatal(err)
	}
	value, err := res.Value()
	fmt.Printf("%s %v\n", value, err)
	// Output: 2 apples <nil>
}

// Two writers that have not seen each other leave siblings. Whoever writes with the context of a read replaces what
// that read returned.
func ExampleWithContext() {
	c, ctx := exampleClient()
	key := client.NewKey("greeting", "")
	for _, value := range []string{"hello", "good morning"} {
		if _, err := c.Put(ctx, "default", key, []byte(value)); err != nil {
			log.Fatal(err)
		}
	}
	res, err := c.Get(ctx, "default", key)
	if err != nil {
		log.Fatal(err)
	}
	for _, v := range res.Versions {
		fmt.Printf("sibling: %s\n", v.Value)
	}
	w, err := c.Put(ctx, "default", key, []byte("hello, good morning"), client.WithContext(res.Context))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("versions now:", w.Versions)
	// Output:
	// sibling: hello
	// sibling: good morning
	// versions now: 1
}

// mergeSets makes one set of two; a set is sorted words with a blank between them.
func mergeSets(a, b []byte) ([]byte, error) {
	words := append(strings.Fields(string(a)), strings.Fields(string(b))...)
	slices.Sort(words) // the same bytes for the same set, whoever merges
	return []byte(strings.Join(slices.Compact(words), " ")), nil
}

// A set of tags, to which many add: siblings become their union.
func ExampleBucketResolver() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := client.Open(ctx, examples().Addrs(),
		client.BucketResolver("default", client.MergeValues(mergeSets)))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	key := client.NewKey("tags:photo-7", "")
	for _, tags := range []string{"beach sun", "family sun"} {
		if _, err := c.Put(ctx, "default", key, []byte(tags)); err != nil {
			log.Fatal(err)
		}
	}
	res, err := c.Get(ctx, "default", key)
	if err != nil {
		log.Fatal(err)
	}
	tags, err := res.Value()
	fmt.Printf("%s %v, made of %d siblings\n", tags, err, len(res.Resolved))
	// Output: beach family sun <nil>, made of 2 siblings
}

// Read, change, write: with the context of the read, and with what others write meanwhile.
func ExampleClient_Update() {
	c, ctx := exampleClient()
	key := client.NewKey("tags:photo-8", "")
	addTag := func(tag string) error {
		_, err := c.Update(ctx, "default", key, func(current *client.Result) ([]byte, error) {
			tags, err := current.Value()
			if errors.Is(err, client.ErrNotFound) {
				return []byte(tag), nil
			}
			if err != nil {
				return nil, err
			}
			if slices.Contains(strings.Fields(string(tags)), tag) {
				return nil, client.ErrKeep
			}
			return mergeSets(tags, []byte(tag))
		}, client.WithResolver(client.MergeValues(mergeSets)))
		return err
	}
	var all sync.WaitGroup
	for _, tag := range []string{"beach", "sun", "family", "sun"} {
		all.Go(func() {
			if err := addTag(tag); err != nil {
				log.Fatal(err)
			}
		})
	}
	all.Wait()
	res, err := c.Get(ctx, "default", key, client.WithResolver(client.MergeValues(mergeSets)))
	if err != nil {
		log.Fatal(err)
	}
	tags, err := res.Value()
	fmt.Printf("%s %v\n", tags, err)
	// Output: beach family sun <nil>
}

// Many items in few requests, each with an outcome of its own.
func ExampleClient_BatchPut() {
	c, ctx := exampleClient()
	outcomes := c.BatchPut(ctx, "default", []client.PutItem{
		{Key: client.NewKey("user:1", ""), Value: []byte("Ada")},
		{Key: client.NewKey("user:2", ""), Value: []byte("Alan")},
		{Key: client.Key{}, Value: []byte("a key must not be empty")},
	})
	for i, o := range outcomes {
		fmt.Println(i, o.Err == nil, errors.Is(o.Err, client.ErrInvalidArgument))
	}
	keys := []client.Key{client.NewKey("user:2", ""), client.NewKey("user:3", "")}
	for i, o := range c.BatchGet(ctx, "default", keys) {
		if o.Err != nil {
			log.Fatal(o.Err)
		}
		value, err := o.Result.Value()
		fmt.Printf("%v: %q %v\n", keys[i], value, err)
	}
	// Output:
	// 0 true false
	// 1 true false
	// 2 false true
	// "user:2": "Alan" <nil>
	// "user:3": "" not found
}

// The items of one partition key, in the order of their sort keys.
func ExampleClient_Query() {
	c, ctx := exampleClient()
	for _, sort := range []string{"2026-11-19", "2026-11-20", "2026-11-21", "2026-12-01"} {
		if _, err := c.Put(ctx, "default", client.NewKey("sensor:7", sort), []byte("21 °C")); err != nil {
			log.Fatal(err)
		}
	}
	november := client.Range{From: []byte("2026-11-01"), To: []byte("2026-11-30"), Reverse: true, Limit: 2}
	for item, err := range client.Items(c.Query(ctx, "default", []byte("sensor:7"), november)) {
		if err != nil {
			log.Fatal(err)
		}
		value, err := item.Value()
		fmt.Printf("%s: %s %v\n", item.Key.Sort, value, err)
	}
	// Output:
	// 2026-11-21: 21 °C <nil>
	// 2026-11-20: 21 °C <nil>
}

// A scan that is interrupted goes on from the token of the last page that was dealt with, also in another process.
func ExampleClient_Scan() {
	c, ctx := exampleClient()
	if _, _, err := c.CreateBucket(ctx, client.Bucket{Name: "invoices"}); err != nil {
		log.Fatal(err)
	}
	for i := range 10 {
		if _, err := c.Put(ctx, "invoices", client.NewKey(fmt.Sprint("invoice:", i), ""), []byte("paid")); err != nil {
			log.Fatal(err)
		}
	}
	seen := make(map[string]bool)
	var saved []byte // where the job keeps how far it is: a file, a row, an item of another bucket
	scan := func(limit int) {
		for page, err := range c.Scan(ctx, "invoices", client.ScanOptions{Resume: saved, Limit: limit}) {
			if err != nil {
				log.Fatal(err) // saved stays: the next run goes on from it
			}
			for _, item := range page.Items {
				seen[item.Key.String()] = true
			}
			saved = page.Resume // behind the work: after a crash a page may be dealt with twice, never not at all
		}
		fmt.Println(len(seen), "invoices")
	}
	scan(4)
	scan(0)
	// Output:
	// 4 invoices
	// 10 invoices
}

// What went wrong, by kind and in numbers.
func ExampleError() {
	cluster, err := clienttest.Open(clienttest.Options{Nodes: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	c, ctx := cluster.Client(), context.Background()
	cluster.Stop(1)
	cluster.Stop(2)
	cluster.Settle()

	_, err = c.Put(ctx, "default", client.NewKey("k", ""), []byte("v"), client.Strict(), client.W(client.Quorum))
	switch {
	case err == nil:
		fmt.Println("stored")
	case errors.Is(err, client.ErrOutcomeUnknown):
		fmt.Println("it may be stored: repeat it with the request id of the error, or read")
	case errors.Is(err, client.ErrUnavailable):
		fmt.Println("not stored: try again later, or with less")
	default:
		fmt.Println("not stored:", err)
	}
	var e *client.Error
	if errors.As(err, &e) {
		fmt.Printf("%s: required %d, received %d, live %d\n", e.Reason, e.Required, e.Received, e.Live)
	}
	// Output:
	// not stored: try again later, or with less
	// QUORUM_UNAVAILABLE: required 2, received 0, live 1
}

// A write whose outcome is unknown is repeated with the same request id: it takes place once.
func ExampleWithRequestID() {
	c, ctx := exampleClient()
	id, err := c.NewRequestID()
	if err != nil {
		log.Fatal(err)
	}
	var last *client.Written
	for range 2 {
		last, err = c.Put(ctx, "default", client.NewKey("order:17", ""), []byte("1 book"),
			client.W(client.All), client.WithRequestID(id))
		if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("versions:", last.Versions, "repeated:", last.Repeated)
	// Output:
	// versions: 1 repeated: true
}

// Who was asked, and who answered.
func ExampleWithExplain() {
	c, ctx := exampleClient()
	res, err := c.Get(ctx, "default", client.NewKey("nothing here", ""),
		client.R(client.All), client.Strict(), client.WithExplain())
	if err != nil {
		log.Fatal(err)
	}
	x := res.Explain
	fmt.Printf("%d of %d required answers, N=%d, %v\n", x.Received, x.Required, x.N, x.Mode)
	for _, r := range x.Replicas {
		fmt.Println(r.Fallback, r.Outcome)
	}
	// Output:
	// 3 of 3 required answers, N=3, strict
	// false ok
	// false ok
	// false ok
}

// exampleClient is a client of the cluster of the examples; see ExampleOpen.
func exampleClient() (*client.Client, context.Context) {
	return sharedClient(), context.Background()
}
