package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

// NodeID is a node's random identity.
type NodeID = [16]byte

// Peer is a node to call, or one that calls.
type Peer struct {
	ID NodeID
	// Addr is where to connect, host:port; of a caller, where its connection comes from.
	Addr string
}

// Identity is what a node says of itself in its Hello.
type Identity struct {
	Cluster string
	// ClusterID is 16 bytes, or empty on a node that no cluster has taken in yet.
	ClusterID   []byte
	Incarnation uint64
	NodeID      NodeID
	Name        string
}

// Options configure a Pool and a Server.
type Options struct {
	// Self is asked at every handshake and compared at every frame: it must be cheap and safe for concurrent
	// use. A change of the cluster, its id or its incarnation ends the streams that were opened before.
	Self func() Identity
	// HLC is the present hybrid time, put on every frame sent. Nil: zero.
	HLC func() uint64
	// ObserveHLC takes the hybrid time of every frame received. When it fails, the requests of that frame are
	// answered with CLOCK_OFFSET and its replies are dropped with a ClockError to their callers. Nil: accept all.
	ObserveHLC func(uint64) error
	// OnWall is told, at every handshake, how far the peer's wall clock is ahead of ours (negative: behind). May be nil.
	OnWall func(node NodeID, offset time.Duration)
	// Now is the wall clock shown to peers. Nil: time.Now.
	Now func() time.Time
	// Dial opens connections. Nil: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Rand feeds the jitter of backoff; safe for concurrent use. Nil: crypto/rand.
	Rand io.Reader
	// Logger hears of connections made, lost and refused. Nil: discard.
	Logger *slog.Logger

	Limits
}

// Limits bound what the transport holds and how long it waits. A zero field takes its default.
type Limits struct {
	// FrameBytes ends a frame of several messages; a larger message goes in a frame of its own. Default 1 MiB.
	FrameBytes int
	// FrameRequests ends a frame too. Default 1024, at most MaxFrameItems.
	FrameRequests int
	// BulkThreshold is the size from which a request goes over the bulk stream whoever calls. Default 256 KiB.
	BulkThreshold int
	// MessageBytes is the largest frame taken or sent. Default 128 MiB.
	MessageBytes int
	// QueueLength is how many requests may wait for a link. Default 4096.
	QueueLength int
	// QueueBytes bounds the requests of a link that wait or are under way. Default 128 MiB.
	QueueBytes int64
	// InFlight is how many requests of a stream may be under way, on either side. Default 4096.
	InFlight int
	// ServerInFlight is how many requests of all streams a Server takes at once. Default 16384.
	ServerInFlight int
	// ServerBytes bounds the requests of all streams that a Server has taken. Default 512 MiB.
	ServerBytes int64
	// ReplyBytes bounds the replies that wait for one stream; beyond, a reply that is large becomes OVERLOADED.
	// Default 128 MiB.
	ReplyBytes int64
	// Linger is how long a frame waits for company once it has a first message. Default 0: it takes what waits.
	Linger time.Duration
	// DefaultTimeout is the deadline of a call whose context has none. Default 10 s.
	DefaultTimeout time.Duration
	// ConnectTimeout bounds connecting, Hello included. Default 3 s.
	ConnectTimeout time.Duration
	// MinBackoff and MaxBackoff bound the pause after a failed connection, which doubles. Defaults 50 ms and 2 s.
	MinBackoff, MaxBackoff time.Duration
}

// EnsureDefaults returns the options with zero fields set to their defaults.
func (o Options) EnsureDefaults() Options {
	if o.HLC == nil {
		o.HLC = func() uint64 { return 0 }
	}
	if o.ObserveHLC == nil {
		o.ObserveHLC = func(uint64) error { return nil }
	}
	if o.OnWall == nil {
		o.OnWall = func(NodeID, time.Duration) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		var d net.Dialer
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.ensureDefaults()
	return o
}

func (l Limits) ensureDefaults() Limits {
	setDefault(&l.FrameBytes, 1<<20)
	setDefault(&l.FrameRequests, 1024)
	setDefault(&l.BulkThreshold, 256<<10)
	setDefault(&l.MessageBytes, 128<<20)
	setDefault(&l.QueueLength, 4096)
	setDefault(&l.QueueBytes, 128<<20)
	setDefault(&l.InFlight, 4096)
	setDefault(&l.ServerInFlight, 16384)
	setDefault(&l.ServerBytes, 512<<20)
	setDefault(&l.ReplyBytes, 128<<20)
	setDefault(&l.DefaultTimeout, 10*time.Second)
	setDefault(&l.ConnectTimeout, 3*time.Second)
	setDefault(&l.MinBackoff, 50*time.Millisecond)
	setDefault(&l.MaxBackoff, 2*time.Second)
	return l
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Validate reports what is wrong with the options, defaults filled in.
func (o Options) Validate() error {
	o = o.EnsureDefaults()
	if o.Self == nil {
		return errors.New("transport: Options.Self is not set: a node must say who it is")
	}
	positive := []struct {
		name  string
		value int64
	}{
		{"FrameBytes", int64(o.FrameBytes)}, {"FrameRequests", int64(o.FrameRequests)},
		{"BulkThreshold", int64(o.BulkThreshold)}, {"QueueLength", int64(o.QueueLength)},
		{"QueueBytes", o.QueueBytes}, {"InFlight", int64(o.InFlight)}, {"ServerInFlight", int64(o.ServerInFlight)},
		{"ServerBytes", o.ServerBytes}, {"ReplyBytes", o.ReplyBytes}, {"DefaultTimeout", int64(o.DefaultTimeout)},
		{"ConnectTimeout", int64(o.ConnectTimeout)}, {"MinBackoff", int64(o.MinBackoff)},
	}
	for _, p := range positive {
		if p.value < 0 {
			return fmt.Errorf("transport: Options.%s is %d: it must be above zero", p.name, p.value)
		}
	}
	switch {
	case o.FrameRequests > MaxFrameItems:
		return fmt.Errorf("transport: Options.FrameRequests is %d: peers refuse frames of more than %d", o.FrameRequests, MaxFrameItems)
	case o.MessageBytes < 2*(o.FrameBytes+frameOverhead): // FrameBytes counts messages, not ids and lengths
		return fmt.Errorf("transport: Options.MessageBytes is %d: frames of %d bytes need twice that", o.MessageBytes, o.FrameBytes)
	case o.MaxBackoff < o.MinBackoff:
		return fmt.Errorf("transport: Options.MaxBackoff is %v, below MinBackoff, %v", o.MaxBackoff, o.MinBackoff)
	case o.Linger < 0:
		return fmt.Errorf("transport: Options.Linger is %v: it can't be negative", o.Linger)
	}
	return nil
}
