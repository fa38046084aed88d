package client_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
)

// stored is more than fits on one page of a server unless asked.
const stored = 1050

// fill stores items in one partition key, sort keys 0000 to 1049.
func fill(t *testing.T, c *client.Client) {
	t.Helper()
	items := make([]client.PutItem, stored)
	for i := range items {
		items[i] = client.PutItem{Key: client.NewKey("p", fmt.Sprintf("%04d", i)), Value: fmt.Append(nil, i)}
	}
	for _, o := range c.BatchPut(t.Context(), bucket, items) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
}

func TestQuery(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	fill(t, c)
	tests := []struct {
		name        string
		r           client.Range
		first, last string
		n           int
	}{
		{"all", client.Range{}, "0000", "1049", stored},
		{"bounds", client.Range{From: []byte("0100"), To: []byte("0299")}, "0100", "0299", 200},
		{"reverse", client.Range{To: []byte("0299"), Reverse: true}, "0299", "0000", 300},
		{"limit over pages", client.Range{Limit: 250}, "0000", "0249", 250},
		{"limit above what servers take", client.Range{Limit: 100_000}, "0000", "1049", stored},
		{"no limit", client.Range{Limit: -1}, "0000", "1049", stored},
		{"limit of a page", client.Range{Limit: 100}, "0000", "0099", 100},
		{"empty bounds", client.Range{From: []byte{}}, "0000", "1049", stored},
		{"nothing", client.Range{From: []byte("9")}, "", "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for item, err := range client.Items(c.Query(t.Context(), bucket, []byte("p"), test.r)) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(item.Key.Sort))
			}
			if len(got) != test.n || test.n > 0 && (got[0] != test.first || got[test.n-1] != test.last) {
				t.Fatalf("%d items: %v", len(got), got)
			}
		})
	}
}

func TestQueryResumes(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	fill(t, c)
	var token []byte
	seen := 0
	for page, err := range c.Query(t.Context(), bucket, []byte("p"), client.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page.Items)
		token = page.Resume
		break
	}
	for page, err := range c.Query(t.Context(), bucket, []byte("p"), client.Range{Resume: token}) {
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page.Items)
	}
	if seen != stored {
		t.Fatalf("%d items", seen)
	}
}

func TestScanSurvivesBrokenStreams(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	fill(t, c)
	var pages atomic.Int32
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method == "ScanPage" && pages.Add(1)%2 == 0 {
			return status.Error(codes.Unavailable, "the node is gone")
		}
		return nil
	})
	seen := make(map[string]bool)
	for page, err := range c.Scan(t.Context(), bucket, client.ScanOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			if seen[string(item.Key.Sort)] {
				t.Fatalf("%s comes twice", item.Key)
			}
			seen[string(item.Key.Sort)] = true
		}
	}
	if len(seen) != stored {
		t.Fatalf("%d items", len(seen))
	}
}

func TestScanLimitAndResume(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	fill(t, c)
	count := func(o client.ScanOptions) (n int, token []byte) {
		for page, err := range c.Scan(t.Context(), bucket, o) {
			if err != nil {
				t.Fatal(err)
			}
			n += len(page.Items)
			token = page.Resume
		}
		return n, token
	}
	n, token := count(client.ScanOptions{Limit: 120})
	if n != 120 {
		t.Fatalf("%d items", n)
	}
	if n, _ = count(client.ScanOptions{Resume: token}); n != stored-120 {
		t.Fatalf("%d items behind the token", n)
	}
	for _, err := range c.Scan(t.Context(), "absent", client.ScanOptions{}) {
		if err == nil {
			t.Fatal("an unknown bucket can be scanned")
		}
	}
}

// Whoever stops reading leaves nothing behind: goleak looks after that.
func TestScanIsLeftEarly(t *testing.T) {
	c := open(t, kvfake.Start(t, 3))
	fill(t, c)
	for range c.Scan(t.Context(), bucket, client.ScanOptions{}) {
		break
	}
}
