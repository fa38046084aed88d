package clienttest_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/client/clienttest"
)

// A test of yours: whatever one node does, the cart stays.
func ExampleStart() {
	_ = func(t *testing.T) { // func TestCart(t *testing.T)
		cluster := clienttest.Start(t, clienttest.Options{})
		c := cluster.Client()
		cart := client.NewKey("cart:42", "")
		if _, err := c.Put(t.Context(), "default", cart, []byte("2 apples")); err != nil {
			t.Fatal(err)
		}
		cluster.Kill(0)
		if _, err := c.Get(t.Context(), "default", cart); err != nil {
			t.Fatal(err)
		}
	}
}

// Without a test: in TestMain, or in an example like this one.
func ExampleOpen() {
	cluster, err := clienttest.Open(clienttest.Options{Nodes: 5})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	c, ctx, cart := cluster.Client(), context.Background(), client.NewKey("cart:42", "")

	cluster.Stop(cluster.Owners("default", cart.Partition)[0])
	cluster.Settle()
	w, err := c.Put(ctx, "default", cart, []byte("2 apples"), client.W(client.All))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Acknowledged, "acknowledged; another node stood in for an owner:", w.Fallbacks > 0)
	// Output: 3 acknowledged; another node stood in for an owner: true
}
