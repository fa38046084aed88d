package client_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/testcluster"
)

// Against real nodes: what is larger than one response comes in several.
func TestMoreThanOneResponse(t *testing.T) {
	c := testcluster.New(t, testcluster.Options{Nodes: 1, RealDisk: true}).Client()
	t.Run("query", func(t *testing.T) {
		fill(t, c)
		n := 0
		for item, err := range client.Items(c.Query(t.Context(), bucket, []byte("p"), client.Range{})) {
			if err != nil {
				t.Fatal(err)
			}
			if got := string(item.Key.Sort); got != fmt.Sprintf("%04d", n) {
				t.Fatalf("item %d is %s", n, got)
			}
			n++
		}
		if n != stored {
			t.Fatalf("%d items", n)
		}
	})
	t.Run("batch", func(t *testing.T) {
		// More than a client takes as one message.
		value := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 9<<20) }
		var keys []client.Key
		for i := range 8 {
			key := client.NewKey("large", fmt.Sprint(i))
			if _, err := c.Put(t.Context(), bucket, key, value(i), client.Timeout(time.Minute)); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
		}
		for i, o := range c.BatchGet(t.Context(), bucket, keys, client.Timeout(time.Minute)) {
			if o.Err != nil {
				t.Fatalf("%s: %v", keys[i], o.Err)
			}
			if len(o.Result.Versions) != 1 || !bytes.Equal(o.Result.Versions[0].Value, value(i)) {
				t.Fatalf("%s has another value", keys[i])
			}
		}
	})
}
