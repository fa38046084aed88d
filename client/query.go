package client

import (
	"context"
	"iter"

	"google.golang.org/grpc"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Range selects items of one partition key by their sort keys. The zero Range selects all.
type Range struct {
	// From and To are the first and the last sort key, both inclusive; nil is unbounded.
	From, To []byte
	// Limit is the most items in all; 0: no limit.
	Limit int
	// Reverse goes from the highest sort key down.
	Reverse bool
	// Resume goes on where a page with this token ended. Bounds, direction and partition key must be the same.
	Resume []byte
}

// Page is a run of consecutive items of a query or a scan. It may be empty.
type Page struct {
	// Items are the caller's.
	Items []Item
	// Resume goes on behind the page, on any node, in another process, and at any later time. It is empty after the last
	// page of a query; whoever saves it has to note the end apart from it, since an empty token starts anew.
	Resume []byte
	// Progress is the share of the bucket that a scan has read, 0 to 1; 0 in a query.
	Progress float64
	// Explain is set when it was asked for.
	Explain *Explain
}

// maxPage is the most items that a server puts on one page.
const maxPage = 10_000

// Query yields the items of one partition key in the bytewise order of their sort keys, page by page. It
// ends with the first error, whose page is the zero Page. Options: R or Consistency, Sloppy, Strict,
// Timeout (of each page), WithResolver, WithExplain.
func (c *Client) Query(ctx context.Context, bucket string, partition []byte, r Range, opts ...CallOption) iter.Seq2[Page, error] {
	o := newCallOptions(opts)
	return func(yield func(Page, error) bool) {
		limited, left := r.Limit > 0, max(r.Limit, 0)
		token := r.Resume
		for {
			request := &pb.QueryRequest{
				Bucket: bucket, PartitionKey: partition, From: r.From, To: r.To, Reverse: r.Reverse,
				Limit: uint32(min(left, maxPage)), PageToken: token, Options: o.read(),
			}
			page, sent, err := c.queryPage(ctx, request, &o)
			if err != nil {
				yield(Page{}, err)
				return
			}
			if limited {
				left = max(left-sent, 0) // 0 on the wire is the server's own page size
			}
			token = page.Resume
			if !yield(page, nil) || len(token) == 0 || limited && left == 0 {
				return
			}
		}
	}
}

// queryPage asks for one page. sent is how many items the server put on it: a Resolver may have left out some.
func (c *Client) queryPage(ctx context.Context, request *pb.QueryRequest, o *callOptions) (page Page, sent int, err error) {
	to := target{bucket: request.GetBucket(), partition: request.GetPartitionKey(), spread: true}
	reply, err := invoke(ctx, c, call{op: "query", to: to, timeout: o.timeout},
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.QueryResponse, error) {
			return e.kv.Query(ctx, request, opts...)
		})
	if err != nil {
		return Page{}, 0, err
	}
	return Page{
		Items:   c.resolverOf(request.GetBucket(), o).items("query", itemsFromProto(reply.GetItems())),
		Resume:  reply.GetNextPageToken(),
		Explain: explainFromProto(reply.GetExplain()),
	}, len(reply.GetItems()), nil
}

// Items flattens the pages of a query or a scan. It ends with the first error, whose item is the zero
// Item.
func Items(pages iter.Seq2[Page, error]) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for page, err := range pages {
			if err != nil {
				yield(Item{}, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

func itemsFromProto(items []*pb.Item) []Item {
	out := make([]Item, len(items))
	for i, item := range items {
		out[i] = itemFromProto(item)
	}
	return out
}
