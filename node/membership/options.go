package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// Tuning sets how quickly gossip works. The zero value is DefaultTuning.
type Tuning struct {
	// ProbeInterval is the pause between two probes of one node each; ProbeTimeout is how long a direct
	// answer may take before others are asked to try.
	ProbeInterval, ProbeTimeout time.Duration
	// SuspicionMult times log10(nodes) times ProbeInterval is how long a suspect may refute.
	SuspicionMult int
	// GossipInterval is the pause between two rounds of rumours, PushPullInterval between two whole
	// exchanges with a random peer.
	GossipInterval, PushPullInterval time.Duration
	// StreamTimeout bounds connecting to a peer and one whole exchange.
	StreamTimeout time.Duration
	// RejoinInterval is the pause between two searches for missing peers, give or take a half.
	RejoinInterval time.Duration
}

// DefaultTuning finds a killed node of five in two to four seconds, on a network of one data centre or of
// several that are near.
func DefaultTuning() Tuning {
	return Tuning{
		ProbeInterval:    500 * time.Millisecond,
		ProbeTimeout:     250 * time.Millisecond,
		SuspicionMult:    3,
		GossipInterval:   200 * time.Millisecond,
		PushPullInterval: 10 * time.Second,
		StreamTimeout:    3 * time.Second,
		RejoinInterval:   10 * time.Second,
	}
}

// Options configure a Membership.
type Options struct {
	// ID is this node. Required.
	ID ring.NodeID
	// Meta returns what this node says of itself; it is asked at the start and after each UpdateMeta. It
	// must name ID and must be at most 512 bytes encoded. Required.
	Meta func() *pb.GossipMeta
	// Cluster is the cluster's name. Gossip of other names is refused. Required.
	Cluster string

	// Bind is the address to listen on, host:port, when there is no Transport. Advertise is what others
	// are told to dial, host:port; empty: the bound address. The host may be a name, resolved once.
	Bind, Advertise string
	// Transport carries gossip; nil: UDP and TCP on Bind. Close shuts it down, as does New when it fails for
	// another reason than the options.
	Transport memberlist.Transport
	// Resolve looks a host name up; nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	// Join lists addresses of nodes to look for, host:port, names being resolved anew each time;
	// StoredPeers returns those that this node remembers. Membership looks for any that is missing for ever.
	Join        []string
	StoredPeers func() []string

	// Refuse says why a node is not to be let in, such as a foreign cluster id or a known name with another
	// id. It runs under memberlist's lock: it must not wait and must not call Membership. Nil: all are
	// let in.
	Refuse func(*pb.GossipMeta) error

	// Detector learns who is alive. Nil: none.
	Detector *Detector
	Tuning   Tuning
	Logger   *slog.Logger     // nil: none
	Rand     *rand.Rand       // spreads rejoining, used by no one else; nil: seeded at random
	Now      func() time.Time // nil: time.Now
}

// EnsureDefaults fills what is zero.
func (o Options) EnsureDefaults() Options {
	if o.Tuning == (Tuning{}) {
		o.Tuning = DefaultTuning()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.StoredPeers == nil {
		o.StoredPeers = func() []string { return nil }
	}
	if o.Refuse == nil {
		o.Refuse = func(*pb.GossipMeta) error { return nil }
	}
	return o
}

// maxClusterName leaves room for the label's prefix in the 255 bytes that memberlist allows.
const maxClusterName = 200

// Validate checks the options, before anything is started.
func (o Options) Validate() error {
	if o.ID.IsZero() {
		return errors.New("membership: no node id")
	}
	if o.Cluster == "" || len(o.Cluster) > maxClusterName {
		return fmt.Errorf("membership: a cluster's name has 1 to %d bytes, not %d", maxClusterName, len(o.Cluster))
	}
	if o.Meta == nil {
		return errors.New("membership: no metadata")
	}
	return checkMeta(o.ID, o.Meta())
}

// MetaTooLongError says that a node's metadata can't be gossiped: its names or addresses are too long.
type MetaTooLongError struct {
	// Size is what it would take at worst, Limit what there is, in bytes.
	Size, Limit int
}

func (e *MetaTooLongError) Error() string {
	return fmt.Sprintf("the node's name, zone and addresses take %d bytes in gossip, more than %d: shorten them", e.Size, e.Limit)
}

// checkMeta checks that the metadata is of this node and fits, also once the node belongs to a cluster
// and all its numbers have grown: a node must not start that could not say so later.
func checkMeta(id ring.NodeID, meta *pb.GossipMeta) error {
	if string(meta.GetAttributes().GetId()) != string(id[:]) {
		return fmt.Errorf("membership: the metadata names node %x, not %s", meta.GetAttributes().GetId(), id)
	}
	worst := proto.CloneOf(meta)
	worst.ClusterId = make([]byte, 16)
	worst.Epoch, worst.Document = ^uint64(0), ^uint64(0)
	worst.Attributes.Generation = ^uint64(0)
	worst.Ready, worst.Leaving = true, true
	if n := proto.Size(worst); n > memberlist.MetaMaxSize {
		return &MetaTooLongError{Size: n, Limit: memberlist.MetaMaxSize}
	}
	return nil
}
