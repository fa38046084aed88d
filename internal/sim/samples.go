package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/starling-db/starling/internal/history"
)

const (
	// sampleEvery is the pause between two looks at what the nodes use.
	sampleEvery = 10 * time.Second
	// goroutinesPerNode bounds what is left of an idle cluster, the test's own included, whatever it went through.
	goroutinesPerNode = 200
	// maxPage bounds what is read of a node's figures.
	maxPage = 1 << 20
)

// watch looks at what the nodes use, over and over, until ctx ends.
func (r *run) watch(ctx context.Context) {
	for sleep(ctx, sampleEvery) == nil {
		r.sampleNodes(ctx)
	}
}

// sampleIdle notes how many goroutines there are while nothing is going on, and what the nodes use.
func (r *run) sampleIdle() {
	r.samples = append(r.samples, history.Sample{At: r.trace.at(), Goroutines: goroutines()})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r.sampleNodes(ctx)
}

// sampleNodes asks each node that runs; one that can't answer now is left out.
func (r *run) sampleNodes(ctx context.Context) {
	for i := range r.c.members {
		if r.c.running(i) == nil {
			continue
		}
		if s, err := r.sampleNode(ctx, i); err == nil {
			r.samples = append(r.samples, s)
		}
	}
}

func (r *run) sampleNode(ctx context.Context, i int) (history.Sample, error) {
	s := history.Sample{At: r.trace.at(), Node: nodeName(i)}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.c.members[i].cfg.HTTPAddr+"/metrics", nil)
	if err != nil {
		return s, err
	}
	web := &http.Transport{DialContext: r.c.dialHTTP, DisableKeepAlives: true}
	defer web.CloseIdleConnections()
	resp, err := (&http.Client{Transport: web}).Do(req)
	if err != nil {
		return s, err
	}
	defer func() { _ = resp.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return s, err
	}
	sum := func(name string) (total float64) {
		for _, m := range families[name].GetMetric() {
			total += m.GetGauge().GetValue()
		}
		return total
	}
	s.InFlight, s.PeerCalls = int(sum("starling_requests_in_flight")), int(sum("starling_peer_requests_in_flight"))
	s.HintBytes = int64(sum("starling_hint_bytes"))
	if families["starling_requests_in_flight"] == nil || families["starling_peer_requests_in_flight"] == nil {
		return s, fmt.Errorf("%s does not tell what it uses", nodeName(i))
	}
	return s, nil
}

// caps are what nodes may use by their configuration.
func (r *run) caps() history.Caps {
	cfg := r.c.members[0].cfg
	return history.Caps{Goroutines: goroutinesPerNode * len(r.c.members), InFlight: cfg.MaxInFlight, HintBytes: int64(cfg.HintBytes)}
}

// goroutines counts those of this bubble: other runs of the process have their own.
func goroutines() int {
	own := make([]byte, 256)
	own = own[:runtime.Stack(own, false)]
	_, bubble, found := bytes.Cut(own, []byte("synctest bubble "))
	if !found {
		return 0
	}
	mark := "synctest bubble " + string(bubble[:bytes.IndexByte(bubble, ']')]) + "]"
	for size := 4 << 20; ; size *= 2 {
		all := make([]byte, size)
		if n := runtime.Stack(all, true); n < size {
			return strings.Count(string(all[:n]), mark)
		}
	}
}
