package client

import (
	"context"

	"google.golang.org/grpc"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Put writes one value. Without WithContext it becomes a sibling of every version that is there.
// Options: W or Consistency, Sloppy, Strict, WithDurability, TTL, NoTTL, Timeout, WithContext, WithRequestID,
// WithExplain.
func (c *Client) Put(ctx context.Context, bucket string, key Key, value []byte, opts ...CallOption) (*Written, error) {
	o := newCallOptions(opts)
	op := writeCall("put", bucket, key, len(value), &o)
	id, err := c.requestID(&o)
	if err != nil {
		return nil, err
	}
	request := &pb.PutRequest{
		Bucket: bucket, Key: key.proto(), Value: value,
		Context: o.context.Bytes(), RequestId: id[:], Options: o.write(), Ttl: o.ttl,
	}
	reply, err := invoke(ctx, c, op,
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.PutResponse, error) {
			return e.sendPut(ctx, request, opts...)
		})
	if err != nil {
		return nil, withRequestID(err, id)
	}
	return writtenFromPut(id, reply), nil
}

// Delete writes a tombstone. Without WithContext it deletes what a quorum read returns now. Deleting
// what is not there is no error. Options as for Put, but for TTL and NoTTL.
func (c *Client) Delete(ctx context.Context, bucket string, key Key, opts ...CallOption) (*Written, error) {
	o := newCallOptions(opts)
	op := writeCall("delete", bucket, key, 0, &o)
	id, err := c.requestID(&o)
	if err != nil {
		return nil, err
	}
	request := &pb.DeleteRequest{
		Bucket: bucket, Key: key.proto(),
		Context: o.context.Bytes(), RequestId: id[:], Options: o.write(),
	}
	reply, err := invoke(ctx, c, op,
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.DeleteResponse, error) {
			return e.sendDelete(ctx, request, opts...)
		})
	if err != nil {
		return nil, withRequestID(err, id)
	}
	return writtenFromProto(id, reply), nil
}

// Get reads one item, with all its siblings. An item that is not there is no error: see Result.Found.
// Options: R or Consistency, Sloppy, Strict, Timeout, WithResolver, WithExplain.
func (c *Client) Get(ctx context.Context, bucket string, key Key, opts ...CallOption) (*Result, error) {
	o := newCallOptions(opts)
	request := &pb.GetRequest{Bucket: bucket, Key: key.proto(), Options: o.read()}
	to := target{bucket: bucket, partition: key.Partition, spread: true}
	reply, err := invoke(ctx, c, call{op: "get", to: to, timeout: o.timeout, patience: patience(0), hedge: true},
		func(ctx context.Context, e *endpoint, opts ...grpc.CallOption) (*pb.GetResponse, error) {
			return e.sendGet(ctx, request, opts...)
		})
	if err != nil {
		return nil, err
	}
	return c.resolverOf(bucket, &o).result("get", key, resultFromProto(reply))
}

// writeCall is a put or a delete of one item. All of an item's writes go to the same live owner, which
// orders them under one latch; bytes is the size of the value.
func writeCall(op, bucket string, key Key, bytes int, o *callOptions) call {
	return call{
		op: op, kind: kindWrite, timeout: o.timeout, patience: patience(bytes), repeated: !o.requestID.IsZero(),
		to: target{bucket: bucket, partition: key.Partition},
	}
}

// requestID returns the id of the options, or draws one.
func (c *Client) requestID(o *callOptions) (RequestID, error) {
	if !o.requestID.IsZero() {
		return o.requestID, nil
	}
	return c.NewRequestID()
}
