package client_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/kvfake"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

func TestErrorsOfServers(t *testing.T) {
	tests := []struct {
		reason  pb.Reason
		code    codes.Code
		matches []error
		// tries of a put in a cluster of three nodes.
		tries int
	}{
		{pb.Reason_REASON_INVALID_ARGUMENT, codes.InvalidArgument, []error{client.ErrInvalidArgument}, 1},
		{pb.Reason_REASON_VALUE_TOO_LARGE, codes.InvalidArgument, []error{client.ErrValueTooLarge, client.ErrInvalidArgument}, 1},
		{pb.Reason_REASON_INVALID_CONSISTENCY, codes.InvalidArgument, []error{client.ErrInvalidConsistency}, 1},
		{pb.Reason_REASON_INVALID_CONTEXT, codes.InvalidArgument, []error{client.ErrInvalidContext}, 1},
		{pb.Reason_REASON_UNKNOWN_BUCKET, codes.NotFound, []error{client.ErrUnknownBucket}, 1},
		{pb.Reason_REASON_REQUEST_TOO_OLD, codes.FailedPrecondition, []error{client.ErrTooOld}, 1},
		{pb.Reason_REASON_TOO_MANY_SIBLINGS, codes.FailedPrecondition, []error{client.ErrTooManySiblings}, 1},
		{pb.Reason_REASON_CLOCK_OFFSET, codes.FailedPrecondition, []error{client.ErrClockOffset}, 1},
		{pb.Reason_REASON_WRONG_CLUSTER, codes.PermissionDenied, []error{client.ErrPermission}, 1},
		{pb.Reason_REASON_QUORUM_UNAVAILABLE, codes.Unavailable, []error{client.ErrQuorum, client.ErrUnavailable}, 2},
		{pb.Reason_REASON_DISK_FULL, codes.Unavailable, []error{client.ErrUnavailable}, 2},
		{pb.Reason_REASON_NOT_READY, codes.Unavailable, []error{client.ErrUnavailable}, 4},
		{pb.Reason_REASON_OVERLOADED, codes.ResourceExhausted, []error{client.ErrOverloaded}, 4},
		{pb.Reason_REASON_OUTCOME_UNKNOWN, codes.Unavailable, []error{client.ErrQuorum, client.ErrOutcomeUnknown}, 4},
		{pb.Reason_REASON_INTERNAL, codes.Internal, []error{client.ErrOutcomeUnknown}, 1},
	}
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster, client.MaxTries(4))
	for _, test := range tests {
		t.Run(test.reason.String(), func(t *testing.T) {
			var tries atomic.Int32
			cluster.Intercept(func(_ context.Context, method string, _ any) error {
				if method != "Put" {
					return nil
				}
				tries.Add(1)
				return kvfake.Fault(test.code, test.reason, "no luck", 2, 1, 0)
			})
			defer cluster.Intercept(nil)
			_, err := c.Put(t.Context(), bucket, client.NewKey("k", ""), nil)
			for _, match := range test.matches {
				if !errors.Is(err, match) {
					t.Errorf("%v is not %v", err, match)
				}
			}
			var e *client.Error
			if !errors.As(err, &e) || e.Code != test.code || e.Required != 2 || e.Received != 1 || e.Live != 0 || e.Op != "put" {
				t.Fatalf("%#v", err)
			}
			if int(tries.Load()) != test.tries || e.Tries != test.tries {
				t.Errorf("%d tries, the error says %d, want %d", tries.Load(), e.Tries, test.tries)
			}
		})
	}
}

// A reply that gets lost is the case that request ids are for.
func TestRetryAfterALostReply(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	key := client.NewKey("k", "")
	first := cluster.Owners(bucket, key.Partition)[0]
	var mu sync.Mutex
	ids := make(map[string]int)
	cluster.Intercept(func(_ context.Context, _ string, request any) error {
		if put, ok := request.(*pb.PutRequest); ok {
			mu.Lock()
			defer mu.Unlock()
			ids[string(put.GetRequestId())]++
		}
		return nil
	})
	first.After(func(context.Context, string, any) error { return status.Error(codes.Unavailable, "lost") })
	w := put(t, c, key, "once")
	if !w.Repeated || w.Versions != 1 {
		t.Fatalf("%+v", w)
	}
	if len(ids) != 1 || ids[string(w.RequestID[:])] != 2 {
		t.Fatalf("request ids %x", ids)
	}
	if r := get(t, c, key); len(r.Versions) != 1 {
		t.Fatalf("%+v", r)
	}
	// So is a batch.
	for _, o := range c.BatchPut(t.Context(), bucket, []client.PutItem{{Key: key, Value: []byte("twice"), Context: w.Context}}) {
		if o.Err != nil || o.Written.Versions != 1 {
			t.Fatalf("%+v", o)
		}
	}
}

// What an earlier try may have done, a later refusal can't take back.
func TestRefusalAfterAnUncertainTry(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	key := client.NewKey("k", "")
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method != "Put" {
			return nil
		}
		return kvfake.Fault(codes.Unavailable, pb.Reason_REASON_QUORUM_UNAVAILABLE, "too few", 2, 0, 1)
	})
	cluster.Owners(bucket, key.Partition)[0].Intercept(func(_ context.Context, method string, _ any) error {
		if method == "Ring" {
			return nil
		}
		return status.Error(codes.Unavailable, "connection lost")
	})
	_, err := c.Put(t.Context(), bucket, key, nil)
	if !errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, client.ErrUnavailable) {
		t.Fatal(err)
	}
	// A client that has not seen that node fail yet.
	for _, o := range open(t, cluster).BatchPut(t.Context(), bucket, []client.PutItem{{Key: key}}) {
		if !errors.Is(o.Err, client.ErrOutcomeUnknown) || errors.Is(o.Err, client.ErrUnavailable) {
			t.Fatal(o.Err)
		}
	}
	// A read has no outcome to be unsure of.
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		return kvfake.Fault(codes.Unavailable, pb.Reason_REASON_QUORUM_NOT_REACHED, "too few", 2, 1, 3)
	})
	if _, err := c.Get(t.Context(), bucket, key); !errors.Is(err, client.ErrQuorum) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Fatal(err)
	}
}

// A batch reports each item by itself, though the items share requests and tries.
func TestBatchOutcomesAreSeparate(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	c := open(t, cluster, client.MaxTries(2))
	var tries atomic.Int32
	cluster.Intercept(func(_ context.Context, _ string, request any) error {
		put, ok := request.(*pb.PutRequest)
		if !ok {
			return nil
		}
		switch string(put.GetKey().GetPartitionKey()) {
		case "wrong":
			return kvfake.Fault(codes.InvalidArgument, pb.Reason_REASON_VALUE_TOO_LARGE, "too large")
		case "unknown":
			return kvfake.Fault(codes.Unavailable, pb.Reason_REASON_OUTCOME_UNKNOWN, "who knows", 2, 1, 3)
		case "busy":
			return kvfake.Fault(codes.ResourceExhausted, pb.Reason_REASON_OVERLOADED, "busy")
		case "second":
			if tries.Add(1) == 1 {
				return kvfake.Fault(codes.Unavailable, pb.Reason_REASON_NOT_READY, "wait")
			}
		}
		return nil
	})
	var items []client.PutItem
	for _, name := range []string{"fine", "wrong", "unknown", "busy", "second"} {
		items = append(items, client.PutItem{Key: client.NewKey(name, "")})
	}
	outcomes := c.BatchPut(t.Context(), bucket, items)
	for i, want := range []error{nil, client.ErrValueTooLarge, client.ErrOutcomeUnknown, client.ErrOverloaded, nil} {
		if !errors.Is(outcomes[i].Err, want) {
			t.Errorf("%s: %v, want %v", items[i].Key, outcomes[i].Err, want)
		}
	}
	if errors.Is(outcomes[3].Err, client.ErrOutcomeUnknown) {
		t.Errorf("what was refused is not unknown: %v", outcomes[3].Err)
	}
}

// What a response has no room for is asked for again, more often than tries or their budget would allow.
func TestBatchGetOfManyResponses(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	c := open(t, cluster, client.MaxTries(2))
	value := make([]byte, 40<<10) // a response has room for one
	var keys []client.Key
	for i := range 110 {
		keys = append(keys, client.NewKey("k", strconv.Itoa(i)))
		put(t, c, keys[i], string(value))
	}
	for i, o := range c.BatchGet(t.Context(), bucket, keys, client.Timeout(time.Minute)) {
		if o.Err != nil || len(o.Result.Versions) != 1 || len(o.Result.Versions[0].Value) != len(value) {
			t.Fatalf("%s: %v", keys[i], o.Err)
		}
	}
	if calls := cluster.Nodes[0].Calls("BatchGet"); calls != len(keys) {
		t.Errorf("%d requests", calls)
	}
	// Without progress the tries are used up.
	before := cluster.Nodes[0].Calls("BatchGet")
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		return kvfake.Fault(codes.ResourceExhausted, pb.Reason_REASON_OVERLOADED, "busy")
	})
	for _, o := range c.BatchGet(t.Context(), bucket, keys) {
		if !errors.Is(o.Err, client.ErrOverloaded) {
			t.Fatal(o.Err)
		}
	}
	if calls := cluster.Nodes[0].Calls("BatchGet") - before; calls != 2 {
		t.Errorf("%d requests", calls)
	}
}

// With the default timeout a node that hangs costs no more than a moment.
func TestHangingNodeCostsLittle(t *testing.T) {
	for name, do := range map[string]func(*client.Client, client.Key) error{
		"put": func(c *client.Client, key client.Key) error {
			_, err := c.Put(t.Context(), bucket, key, nil)
			return err
		},
		"delete": func(c *client.Client, key client.Key) error {
			_, err := c.Delete(t.Context(), bucket, key)
			return err
		},
		"get": func(c *client.Client, key client.Key) error {
			_, err := c.Get(t.Context(), bucket, key)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := kvfake.Start(t, 3)
			c := open(t, cluster)
			key := client.NewKey("k", "")
			for _, n := range cluster.Owners(bucket, key.Partition)[:2] {
				n.Intercept(hang)
			}
			start := time.Now()
			if err := do(c, key); err != nil {
				t.Fatal(err)
			}
			// 0.5 s and 1 s at most; half of what is left would be 7.5 s.
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestHangingNodeLeavesTimeForAnother(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	key := client.NewKey("k", "")
	cluster.Owners(bucket, key.Partition)[0].Intercept(hang)
	put(t, c, key, "v", client.Timeout(5*time.Second))
	if r := get(t, c, key); !r.Found() {
		t.Fatal("not found")
	}
}

func TestDeadlineAndCancel(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	cluster.Intercept(hang)
	defer cluster.Intercept(nil)
	key := client.NewKey("k", "")
	_, err := c.Put(t.Context(), bucket, key, nil, client.Timeout(2*time.Second)) // long enough to be sent
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Error(err)
	}
	_, err = c.Get(t.Context(), bucket, key, client.Timeout(50*time.Millisecond))
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = c.Put(ctx, bucket, key, nil); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Error(err)
	}
}

func hang(ctx context.Context, method string, _ any) error {
	if method == "Ring" {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// A bucket may be unknown for a moment to nodes that were not asked when it was made.
func TestBucketJustMade(t *testing.T) {
	cluster := kvfake.Start(t, 3)
	c := open(t, cluster)
	if _, _, err := c.CreateBucket(t.Context(), client.Bucket{Name: "new"}); err != nil {
		t.Fatal(err)
	}
	var tries atomic.Int32
	cluster.Intercept(func(_ context.Context, method string, _ any) error {
		if method == "Put" && tries.Add(1) <= 2 {
			return kvfake.Fault(codes.NotFound, pb.Reason_REASON_UNKNOWN_BUCKET, "no such bucket")
		}
		return nil
	})
	if _, err := c.Put(t.Context(), "new", client.NewKey("k", ""), nil); err != nil {
		t.Fatal(err)
	}
}

func TestRequestIDsFollowTheServersClock(t *testing.T) {
	cluster := kvfake.Start(t, 1)
	cluster.SetClock(-5 * time.Hour)
	c := open(t, cluster)
	id, err := c.NewRequestID()
	if err != nil {
		t.Fatal(err)
	}
	off := time.Since(time.UnixMilli(id.Millis())) - 5*time.Hour
	if off.Abs() > time.Second {
		t.Fatalf("off by %v", off)
	}
	key := client.NewKey("k", "")
	w := put(t, c, key, "v", client.WithRequestID(id))
	if again := put(t, c, key, "v", client.WithRequestID(id)); w.RequestID != id || !again.Repeated {
		t.Fatalf("%+v, %+v", w, again)
	}
}
