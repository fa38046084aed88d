package client

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Defaults of a Client.
const (
	// DefaultTimeout bounds a call that has neither a deadline nor a Timeout option.
	DefaultTimeout = 10 * time.Second
	// DefaultRefresh is how often the ring is fetched anew, besides whenever a call fails.
	DefaultRefresh = 10 * time.Second
	// DefaultTries bounds the tries of one call, the first included.
	DefaultTries = 6
)

// Option changes a Client as it is opened.
type Option func(*options)

type options struct {
	timeout time.Duration
	refresh time.Duration
	tries   int
	// hedgeShare is the share of gets that may be sent twice.
	hedgeShare float64
	dial       func(ctx context.Context, addr string) (net.Conn, error)
	rand       io.Reader
	// resolvers are those of buckets.
	resolvers map[string]Resolver
}

func defaultOptions() options {
	var dialer net.Dialer
	return options{
		timeout: DefaultTimeout,
		refresh: DefaultRefresh,
		tries:   DefaultTries,

		hedgeShare: DefaultHedgeShare,

		rand: rand.Reader,
		dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", addr)
		},
	}
}

// DialWith replaces how connections are made; addr is "host:port".
func DialWith(dial func(ctx context.Context, addr string) (net.Conn, error)) Option {
	return func(o *options) { o.dial = dial }
}

// DefaultCallTimeout replaces DefaultTimeout. It must be positive.
func DefaultCallTimeout(d time.Duration) Option {
	return func(o *options) { o.timeout = d }
}

// RefreshEvery replaces DefaultRefresh. It must be positive.
func RefreshEvery(d time.Duration) Option {
	return func(o *options) { o.refresh = d }
}

// MaxTries replaces DefaultTries; 1 means never to retry.
func MaxTries(n int) Option {
	return func(o *options) { o.tries = max(n, 1) }
}

// RandomFrom replaces the source of the random bits of request ids, crypto/rand. It must be safe for
// concurrent use.
func RandomFrom(r io.Reader) Option {
	return func(o *options) { o.rand = r }
}

// CallOption changes one call. Options that mean nothing to a call are ignored by it.
type CallOption func(*callOptions)

type callOptions struct {
	r, w       Level
	mode       Mode
	durability Durability
	ttl        *pb.TimeToLive
	timeout    time.Duration
	context    Context
	requestID  RequestID
	explain    bool
	local      bool
	lags       bool
	// resolver counts if it is set, nil too.
	resolver    Resolver
	resolverSet bool
}

func newCallOptions(opts []CallOption) callOptions {
	var o callOptions
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// R is the level of a read.
func R(l Level) CallOption { return func(o *callOptions) { o.r = l } }

// W is the level of a write.
func W(l Level) CallOption { return func(o *callOptions) { o.w = l } }

// Consistency is the level of a read or a write alike.
func Consistency(l Level) CallOption { return func(o *callOptions) { o.r, o.w = l, l } }

// Sloppy lets fallbacks stand in for owners that can't be reached. It is the default.
func Sloppy() CallOption { return func(o *callOptions) { o.mode = ModeSloppy } }

// Strict counts owners only.
func Strict() CallOption { return func(o *callOptions) { o.mode = ModeStrict } }

// WithDurability says when a replica may acknowledge the write.
func WithDurability(d Durability) CallOption { return func(o *callOptions) { o.durability = d } }

// TTL has the value of a put expire so long after the cluster dates the write: reads take it for absent then, by the clock
// of the node that coordinates them. It goes before the bucket's. The least is a millisecond, fractions of which count as
// one; the most is 36,500 days. What is zero, negative or beyond is refused with ErrInvalidArgument.
//
// Nothing of it is inherited: the value that replaces another lives as long as its own put, or its bucket, says.
func TTL(d time.Duration) CallOption {
	return func(o *callOptions) { o.ttl = timeToLive(d) }
}

// NoTTL has the value of a put stay for ever, whatever its bucket says.
func NoTTL() CallOption {
	return func(o *callOptions) { o.ttl = noTimeToLive() }
}

// Timeout bounds the call, all its tries included. The deadline of its context holds as well. For a
// query or a scan it bounds each page.
func Timeout(d time.Duration) CallOption { return func(o *callOptions) { o.timeout = d } }

// WithContext makes a put or a delete replace what the read that returned c has seen.
func WithContext(c Context) CallOption { return func(o *callOptions) { o.context = c } }

// WithRequestID gives a put or a delete the id of an earlier call, to repeat that. Draw new ones with
// Client.NewRequestID.
func WithRequestID(id RequestID) CallOption { return func(o *callOptions) { o.requestID = id } }

// WithExplain asks for a trace of the call in its result.
func WithExplain() CallOption { return func(o *callOptions) { o.explain = true } }

// LocalOnly makes Status and Hints tell only what the answering node knows by itself.
func LocalOnly() CallOption { return func(o *callOptions) { o.local = true } }

// PartitionLags makes Status list the partitions of the answering node, too.
func PartitionLags() CallOption { return func(o *callOptions) { o.lags = true } }

func (o *callOptions) write() *pb.WriteOptions {
	return &pb.WriteOptions{
		W: o.w.proto(), Mode: o.mode.proto(), Durability: o.durability.proto(), Explain: o.explain,
	}
}

func (o *callOptions) read() *pb.ReadOptions {
	return &pb.ReadOptions{R: o.r.proto(), Mode: o.mode.proto(), Explain: o.explain}
}
