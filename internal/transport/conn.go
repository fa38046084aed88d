package transport

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	// Windows let one stream fill a link of 10 Gbit/s at a millisecond; the connection's is larger than the
	// stream's so that a stream nobody reads can't stop the others.
	streamWindow = 4 << 20
	connWindow   = 16 << 20

	ioBuffer = 64 << 10

	// gRPC allows clients no ping sooner than 10 s, servers one each second.
	clientPing  = 10 * time.Second
	serverPing  = 5 * time.Second
	pingTimeout = 5 * time.Second

	maxHeaders = 16 << 10
	// A link opens one stream; the rest is room for one that ends while its successor begins.
	maxStreams = 8
)

// dial makes every connection to a peer that there is; it is where transport security of the calling side goes.
// It does not wait: the connection is made when a stream is opened on it. gRPC's own backoff never comes into
// play, since a connection is closed after its first failure.
func dial(o *Options, addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return o.Dial(ctx, addr) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: o.ConnectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: clientPing, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(newCodec()),
			grpc.MaxCallRecvMsgSize(o.MessageBytes),
			grpc.MaxCallSendMsgSize(o.MessageBytes),
		),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithNoProxy(),
	)
}

// ServerOptions are the options of the gRPC server that a Server is registered with, and it is where transport
// security of the answering side goes. That server must serve nothing else: its limits and its codec are made for frames.
func ServerOptions(o Options) []grpc.ServerOption {
	o = o.EnsureDefaults()
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(o.MessageBytes),
		grpc.MaxSendMsgSize(o.MessageBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: serverPing, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: clientPing / 2, PermitWithoutStream: true}),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ReadBufferSize(ioBuffer),
		grpc.WriteBufferSize(ioBuffer),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(o.ConnectTimeout),
		grpc.WaitForHandlers(true),
	}
}
