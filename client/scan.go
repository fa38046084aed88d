package client

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// ScanOptions select what a scan returns. The zero ScanOptions select the whole bucket.
type ScanOptions struct {
	// Resume goes on behind the page with this token.
	Resume []byte
	// Limit is the most items in all; 0: no limit.
	Limit int
	// KeysOnly leaves out values: keys, dots and contexts only.
	KeysOnly bool
}

// Scan yields a whole bucket, page by page, in an order that is the same on every node and means
// nothing otherwise. It is no snapshot: items that are there throughout appear, others may. When a node
// fails the scan goes on from another. It ends with the first error, whose page is the zero Page.
// Options: R or Consistency, Sloppy, Strict, Timeout (of each page), WithResolver.
func (c *Client) Scan(ctx context.Context, bucket string, s ScanOptions, opts ...CallOption) iter.Seq2[Page, error] {
	o := newCallOptions(opts)
	if o.timeout == 0 {
		o.timeout = c.timeout
	}
	return func(yield func(Page, error) bool) {
		r := scan{client: c, bucket: bucket, options: s, call: &o}
		defer r.close()
		for {
			page, err := r.next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Page{}, err)
				return
			}
			if !yield(page, nil) {
				return
			}
		}
	}
}

// scan is a scan under way: a stream, and where to go on when it breaks.
type scan struct {
	client  *Client
	bucket  string
	options ScanOptions
	call    *callOptions

	// stream is nil before the first page and after a failure.
	stream grpc.ServerStreamingClient[pb.ScanResponse]
	// cancel ends the stream. Its context outlives the call that opened it.
	cancel context.CancelFunc
	// finished: there is no further page.
	finished bool
}

// next returns the next page, io.EOF after the last, or the error that ended the scan.
func (r *scan) next(ctx context.Context) (Page, error) {
	if r.finished {
		return Page{}, io.EOF
	}
	op := call{op: "scan", to: target{bucket: r.bucket}, timeout: r.call.timeout}
	reply, err := invoke(ctx, r.client, op,
		func(tryCtx context.Context, e *endpoint, _ ...grpc.CallOption) (*pb.ScanResponse, error) {
			return r.receive(ctx, tryCtx, e)
		})
	if err != nil {
		return Page{}, err
	}
	if reply == nil {
		r.finished = true
		return Page{}, io.EOF
	}
	items := itemsFromProto(reply.GetItems())
	page := Page{Items: items, Resume: reply.GetResumeToken(), Progress: reply.GetProgress()}
	if !r.options.KeysOnly {
		page.Items = r.client.resolverOf(r.bucket, r.call).items(op.op, items)
	}
	r.options.Resume = page.Resume
	if r.options.Limit > 0 {
		r.options.Limit -= len(items) // those that a Resolver left out count, as the server counted them
		// A scan with a limit ends with it; going on with a limit of 0 would mean no limit.
		r.finished = r.options.Limit <= 0
	}
	return page, nil
}

// receive takes one reply from the stream, which it opens on e if there is none; a nil reply is the
// end. The stream lives in scanCtx; the wait for this one reply is bounded by tryCtx.
func (r *scan) receive(scanCtx, tryCtx context.Context, e *endpoint) (*pb.ScanResponse, error) {
	if r.stream == nil {
		var ctx context.Context
		ctx, r.cancel = context.WithCancel(scanCtx)
		stream, err := e.kv.Scan(ctx, &pb.ScanRequest{
			Bucket: r.bucket, ResumeToken: r.options.Resume, Limit: uint64(max(r.options.Limit, 0)),
			KeysOnly: r.options.KeysOnly, Options: r.call.read(),
		})
		if err != nil {
			r.close()
			return nil, err
		}
		r.stream = stream
	}
	// Recv has no deadline of its own: when the time for this reply is over, the stream ends.
	stop := context.AfterFunc(tryCtx, r.cancel)
	reply, err := r.stream.Recv()
	stop()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return reply, nil
}

// close ends the stream, if there is one.
func (r *scan) close() {
	if r.cancel != nil {
		r.cancel()
	}
	r.stream, r.cancel = nil, nil
}
