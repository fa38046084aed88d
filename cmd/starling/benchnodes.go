package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/bench"
)

const (
	// metricsTimeout bounds how long one node's metrics are waited for, maxMetrics how much is read of them.
	metricsTimeout = 5 * time.Second
	maxMetrics     = 16 << 20
)

// benchNodes are the nodes whose metrics a benchmark reads.
type benchNodes struct {
	nodes []client.NodeStatus
	// err is why there are none.
	err error
	web *http.Client
}

func newBenchNodes(ctx context.Context, c *client.Client, opts []client.CallOption) *benchNodes {
	// No connection is kept: a benchmark must leave nothing behind, and asks twice.
	b := &benchNodes{web: &http.Client{Timeout: metricsTimeout, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}}
	s, err := c.Status(ctx, opts...)
	if err != nil {
		b.err = err
		return b
	}
	for _, n := range s.Nodes {
		if n.Liveness == client.Alive || n.Liveness == client.Suspect {
			b.nodes = append(b.nodes, n)
		}
	}
	return b
}

// sample reads the metrics of all nodes, one after the other, twice.
func (b *benchNodes) sample(ctx context.Context) []bench.Sample {
	out := make([]bench.Sample, len(b.nodes))
	for i, n := range b.nodes {
		out[i].Node = n.Name
		out[i].Host, _, _ = net.SplitHostPort(n.HTTPAddr)
		out[i].First, out[i].Err = b.metrics(ctx, n.HTTPAddr)
	}
	for i, n := range b.nodes {
		if out[i].Err == nil {
			out[i].Again, out[i].Err = b.metrics(ctx, n.HTTPAddr)
		}
	}
	return out
}

func (b *benchNodes) metrics(ctx context.Context, addr string) (bench.Metrics, error) {
	if addr == "" {
		return nil, fmt.Errorf("it has no HTTP port")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	reply, err := b.web.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = reply.Body.Close() }()
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics at %s: %s", addr, reply.Status)
	}
	return bench.ParseMetrics(io.LimitReader(reply.Body, maxMetrics))
}
