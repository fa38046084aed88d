package node

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/hinted"
	"github.com/starling-db/starling/internal/frames"
	"github.com/starling-db/starling/internal/transport"
	"github.com/starling-db/starling/node/membership"
	"github.com/starling-db/starling/node/telemetry"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Bounds of the client port.
const (
	maxClientStreams = 1000
	// maxClientMessage leaves room for a batch of values beside the largest single one.
	maxClientMessage = 64 << 20

	// Windows that stay as they are: to find better ones gRPC sends a ping with nearly every round of frames.
	clientStreamWindow = 4 << 20
	clientConnWindow   = 16 << 20

	clientBuffer = 64 << 10
)

// serve starts the ports. Requests that come before the node is ready are told so.
func (n *Node) serve(l *listeners) {
	n.clientSrv = grpc.NewServer(
		grpc.MaxRecvMsgSize(max(maxClientMessage, 2*int(n.cfg.MaxValueBytes))),
		grpc.MaxConcurrentStreams(maxClientStreams),
		grpc.MaxHeaderListSize(16<<10),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WaitForHandlers(true),
		grpc.ForceServerCodecV2(frames.NewCodec()), // sessions look at what comes before it is decoded
		grpc.StaticStreamWindowSize(clientStreamWindow),
		grpc.StaticConnWindowSize(clientConnWindow),
		grpc.ReadBufferSize(clientBuffer),
		grpc.WriteBufferSize(clientBuffer),
		grpc.ChainStreamInterceptor(n.endWithNode),
	)
	pb.RegisterKVServer(n.clientSrv, &kvService{n: n})
	pb.RegisterClusterServer(n.clientSrv, &clusterService{n: n})
	n.health = &healthService{health.NewServer()}
	healthpb.RegisterHealthServer(n.clientSrv, n.health.Server)
	n.health.set(false)
	reflection.Register(n.clientSrv)

	n.peerSrv = grpc.NewServer(transport.ServerOptions(transport.Options{})...)
	pb.RegisterReplicaServer(n.peerSrv, n.replicaSrv)

	n.metrics.Observe(n.sources())
	n.httpSrv = telemetry.Serve(telemetry.ServerOptions{
		Listener: l.http, Metrics: n.metrics, Logger: n.log,
		Health: n.store.Err, Profiles: n.cfg.Pprof,
		Ready: n.serving, Detail: n.lagLines,
	})
	n.loops.Go(func() { n.serveOn("client port", n.clientSrv, l.client) })
	n.loops.Go(func() { n.serveOn("peer port", n.peerSrv, l.peer) })
}

// healthService is the standard gRPC health service, for the whole server and for KV.
type healthService struct{ *health.Server }

func (h *healthService) set(serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	for _, service := range []string{"", pb.KV_ServiceDesc.ServiceName, pb.Cluster_ServiceDesc.ServiceName} {
		h.SetServingStatus(service, status)
	}
}

func (n *Node) serveOn(what string, srv *grpc.Server, l net.Listener) {
	if err := srv.Serve(l); err != nil {
		n.fail(fmt.Errorf("%s: %w", what, err))
	}
}

// endWithNode ends streams that nobody else ends, such as a scan's or a watch of the health service, when the node
// begins to stop. A session sees to that itself: its calls are answered first.
func (n *Node) endWithNode(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.FullMethod == pb.KV_Session_FullMethodName {
		return handler(srv, stream)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(n.stopping, cancel)()
	err := handler(srv, boundStream{stream, ctx})
	if err != nil && n.stopping.Err() != nil {
		return notReady("node %s is stopping", n.cfg.Name)
	}
	return err
}

type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the stream or with the node.
func (s boundStream) Context() context.Context { return s.ctx }

// handOver brings hints to where they belong, and reports what became of each.
func (n *Node) handOver(ctx context.Context, target ring.NodeID, batch []hinted.Handoff) []error {
	errs := make([]error, len(batch))
	eachOf(len(batch), func(i int) { errs[i] = n.handOne(ctx, target, batch[i]) })
	return errs
}

// handOne sends a hint to its target, over the bulk stream, named with the epoch by which that is still one of the owners that
// the write was planned for: if it is not by the target's own epoch, that refuses. Where the owners have changed since the write
// the state is brought to a quorum of the present ones instead, whatever part the target plays by now.
func (n *Node) handOne(ctx context.Context, target ring.NodeID, h hinted.Handoff) error {
	snap := n.state.Snapshot()
	b, ok := snap.BucketByID(h.Hint.Key.Bucket)
	if snap.Dropped(h.Hint.Key.Bucket) {
		return nil // nobody is owed anything of it
	}
	if !ok {
		return fmt.Errorf("the hint's bucket, %x, is not known here", h.Hint.Key.Bucket)
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.RequestTimeout)
	defer cancel()
	item := causal.ItemKey{Bucket: h.Hint.Key.Bucket, Partition: h.Hint.Key.Partition, Sort: h.Hint.Key.Sort}
	if hintMoved(snap.Epoch, h.Hint, b.N) {
		return n.coordinator.Restore(ctx, coordinator.RestoreRequest{
			W: b.W, WriteRequest: coordinator.WriteRequest{Item: item, N: b.N, Policy: b.Policy, State: h.State},
		})
	}
	_, err := peers{n}.callOn(ctx, n.pool.CallBulk, target, &pb.PeerRequest{
		Epoch: snap.Epoch.Number,
		Body: &pb.PeerRequest_Handoff{Handoff: &pb.Handoff{
			Item: addressOf(item), State: causal.AppendState(nil, h.State), Conflict: conflictProto(b.Policy), N: uint32(b.N),
		}},
	})
	return err
}

// hintMoved reports whether an item's owners have changed since the oldest write that a hint is of.
func hintMoved(epoch *ring.Epoch, h storage.Hint, replicas int) bool {
	return epoch.Changed(epoch.PartitionOf(ring.Token(h.Key.Token)), replicas) > h.Epoch
}

// moved is hintMoved at present. A hint of a bucket that this node has yet to hear of waits for its target.
func (n *Node) moved(h storage.Hint) bool {
	snap := n.state.Snapshot()
	b, ok := snap.BucketByID(h.Key.Bucket)
	return ok && snap.Founded() && hintMoved(snap.Epoch, h, b.N)
}

// sources are what /metrics shows beside the counters.
func (n *Node) sources() telemetry.Sources {
	return telemetry.Sources{
		Ready: func() bool { return n.notReadyReason() == "" },
		Peers: n.peerCounts,
		Hints: n.hintFigures,
		Replay: func() telemetry.Replay {
			s := n.hints.Stats()
			return telemetry.Replay{Settled: s.Settled, Bytes: s.Bytes, Failed: s.Failed, Corrupt: uint64(max(0, s.Corrupt))}
		},
		Repairs: n.repairFigures, Scrubs: n.scrubFigures,
		Lag: n.lagFigures, Watermarks: n.watermarks,
		Gossip: func() telemetry.Gossip {
			s := n.members.Stats()
			return telemetry.Gossip{
				ForeignCluster: s.ForeignCluster, Garbage: s.Garbage, RefusedNodes: s.RefusedNodes,
				AddressConflicts: s.AddressConflicts, Rejoins: s.Rejoins, Stalls: n.detector.Stalls(),
			}
		},
		Storage:   n.storageFigures,
		Transport: n.transportFigures, Sessions: n.sessionFigures,
		Epoch: func() uint64 {
			if e := n.epoch(); e != nil {
				return e.Number
			}
			return 0
		},
		InFlight:   n.admission.InFlight,
		Pace:       n.pace.Limit,
		ClockAhead: n.clock.Ahead,
	}
}

func (n *Node) peerCounts() (out telemetry.Peers) {
	for _, m := range n.state.Snapshot().Members() {
		if m.ID == n.id {
			continue
		}
		switch n.detector.State(m.ID) {
		case membership.Alive:
			out.Alive++
		case membership.Suspect:
			out.Suspect++
		case membership.Left:
			out.Left++
		default:
			out.Dead++
		}
	}
	return out
}

func (n *Node) hintFigures() []telemetry.Hints {
	var out []telemetry.Hints
	for _, h := range n.ownHints() {
		out = append(out, telemetry.Hints{
			Target: h.Target, Items: h.Items, Bytes: h.Bytes, Oldest: time.Duration(h.OldestMs) * time.Millisecond,
		})
	}
	return out
}

func (n *Node) storageFigures() telemetry.Storage {
	m, space := n.store.Metrics(), n.store.Space()
	return telemetry.Storage{
		DiskBytes: m.DiskBytes, WALBytes: m.LogBytes, MemTableBytes: m.MemTableBytes, CacheBytes: uint64(m.CacheBytes),
		WALWritten: m.LogWritten, Fsyncs: m.Fsync.Count, FsyncTime: m.Fsync.Sum,
		CacheHits: uint64(m.CacheHits), CacheMisses: uint64(m.CacheMisses), Flushes: uint64(m.Flushes), Compactions: uint64(m.Compactions),
		ReadAmplification: uint64(m.ReadAmplification), L0Files: uint64(m.LevelZeroTables), DebtBytes: m.CompactionDebtBytes,
		ItemCacheBytes: uint64(m.ItemCacheBytes), ItemCacheHits: uint64(m.ItemCacheHits), ItemCacheMisses: uint64(m.ItemCacheMisses),
		DiskFree: space.Free, DiskFull: space.Full, DiskRefusals: space.Refused,
		Failed: n.store.Err() != nil,
	}
}

func (n *Node) transportFigures() (out telemetry.Transport) {
	for _, l := range n.pool.Stats() {
		out.InFlight += uint64(l.InFlight)
		out.Queued += uint64(l.Queued)
		out.Frames += l.FramesSent
		out.Requests += l.RequestsSent
		out.Connects += l.Connects
		out.Overloads += l.Overloads
		if l.Bulk {
			out.BulkSent += l.BytesSent
			out.BulkReceived += l.BytesReceived
		} else {
			out.Sent += l.BytesSent
			out.Received += l.BytesReceived
		}
	}
	s := n.replicaSrv.Stats()
	out.Overloads += s.Overloads
	out.Expired, out.HellosRefused = s.Expired, s.HellosRefused
	return out
}
