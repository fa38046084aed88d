package telemetry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/starling-db/starling/node/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server on the loopback and returns its address.
func serve(t *testing.T, o ServerOptions) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Listener = ln
	if o.Metrics == nil {
		o.Metrics = NewMetrics("test")
	}
	s := Serve(o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-s.Done(); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serving ended with %v", err)
		}
	})
	return ln.Addr().String()
}

func get(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestProbes(t *testing.T) {
	var health, ready atomic.Pointer[error]
	check := func(p *atomic.Pointer[error]) func() error {
		return func() error {
			if err := p.Load(); err != nil {
				return *err
			}
			return nil
		}
	}
	detail := func() []string { return []string{"yellow: one thing", "yellow: another"} }
	addr := serve(t, ServerOptions{Health: check(&health), Ready: check(&ready), Detail: detail})
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\nyellow: one thing\nyellow: another\n"} {
		if code, body := get(t, addr, path); code != http.StatusOK || body != want {
			t.Errorf("%s: %d %q, want %q", path, code, body, want)
		}
	}
	reason := errors.New("waiting for 2 of 3 nodes to found the cluster")
	ready.Store(&reason)
	if code, body := get(t, addr, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, reason.Error()) {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, _ := get(t, addr, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz of a node that is not ready: %d", code)
	}
	failed := errors.New("disk: input/output error")
	health.Store(&failed)
	if code, body := get(t, addr, "/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, failed.Error()) {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, _ := get(t, addr, "/secret"); code != http.StatusNotFound {
		t.Errorf("/secret: %d", code)
	}
}

// Profiles tell what is in memory: nobody gets them who was not meant to.
func TestProfilesOnlyIfAskedFor(t *testing.T) {
	for want, o := range map[int]ServerOptions{http.StatusNotFound: {}, http.StatusOK: {Profiles: true}} {
		addr := serve(t, o)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1"} {
			if code, _ := get(t, addr, path); code != want {
				t.Errorf("%s with %t: %d, want %d", path, o.Profiles, code, want)
			}
		}
	}
}

func TestMetricsAreServed(t *testing.T) {
	m := NewMetrics("v1.2.3")
	addr := serve(t, ServerOptions{Metrics: m})
	m.Request("put", "quorum", "ok", 3*time.Millisecond)
	m.Request("put", "quorum", "QUORUM_UNAVAILABLE", time.Millisecond)
	m.Shed()
	m.WriteBack()
	m.ReadRepair()
	m.Hedge()
	m.StandIn()
	m.StaleEpoch()
	m.PeerClockRefused()
	m.ClientClockRefused()
	m.RepeatedPut()
	if code, body := get(t, addr, "/metrics"); code != http.StatusOK || strings.Contains(body, "starling_hints{") {
		t.Errorf("before there is anything to sample: %d", code)
	}
	m.Observe(Sources{
		Ready:    func() bool { return true },
		Epoch:    func() uint64 { return 7 },
		InFlight: func() (int64, int64) { return 3, 4096 },
		Pace:     func() int { return 48 },
		Peers:    func() Peers { return Peers{Alive: 3, Suspect: 1} },
		// Two nodes of one name must not break the scrape.
		Hints: func() []Hints {
			return []Hints{{Target: "n2", Items: 5, Bytes: 500, Oldest: 90 * time.Second}, {Target: "n2", Items: 1}}
		},
		Replay: func() Replay { return Replay{Settled: 11} },
		Gossip: func() Gossip { return Gossip{ForeignCluster: 4, Stalls: 1} },
		Storage: func() Storage {
			return Storage{WALBytes: 1234, Failed: true, DiskFree: 77, DiskFull: true, DiskRefusals: 5}
		},
		ClockAhead: func() time.Duration { return 20 * time.Millisecond },
	})
	_, body := get(t, addr, "/metrics")
	for _, line := range []string{
		`starling_requests_total{level="quorum",result="ok",verb="put"} 1`,
		`starling_requests_total{level="quorum",result="QUORUM_UNAVAILABLE",verb="put"} 1`,
		`starling_request_duration_seconds_count{level="quorum",verb="put"} 2`,
		`starling_requests_shed_total 1`,
		`starling_read_repairs_total{when="after_reply"} 1`,
		`starling_read_repairs_total{when="before_reply"} 1`,
		`starling_hedged_reads_total 1`,
		`starling_stand_ins_total 1`,
		`starling_stale_epoch_total 1`,
		`starling_clock_refusals_total{source="peer"} 1`,
		`starling_clock_refusals_total{source="client"} 1`,
		`starling_repeated_puts_total 1`,
		`starling_build_info{version="v1.2.3"} 1`,
		`starling_ready 1`,
		`starling_epoch 7`,
		`starling_requests_in_flight 3`,
		`starling_request_bytes_in_flight 4096`,
		`starling_requests_pace 48`,
		`starling_peers{state="alive"} 3`,
		`starling_peers{state="suspect"} 1`,
		`starling_hints{target="n2"} 5`,
		`starling_hint_bytes{target="n2"} 500`,
		`starling_hint_oldest_seconds{target="n2"} 90`,
		`starling_hints_settled_total 11`,
		`starling_gossip_foreign_total 4`,
		`starling_stalls_total 1`,
		`starling_storage_wal_bytes 1234`,
		`starling_storage_failed 1`,
		`starling_disk_free_bytes 77`,
		`starling_disk_full 1`,
		`starling_disk_full_refusals_total 5`,
		`starling_clock_ahead_seconds 0.02`,
		"go_goroutines ",
		"process_open_fds ",
	} {
		if !strings.Contains(body, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

func TestGarbageIsHarmless(t *testing.T) {
	addr := serve(t, ServerOptions{})
	rnd := rand.New(rand.NewPCG(8, 8))
	for range 30 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1+rnd.IntN(4000))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		_, _ = c.Write(b)
		_ = c.Close()
	}
	if code, _ := get(t, addr, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d", code)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	addr := serve(t, ServerOptions{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	line, _ := bufio.NewReader(c).ReadString('\n')
	if line != "" && !strings.Contains(line, "431") { // the connection may be reset before the answer is read
		t.Errorf("64 KiB of headers: %q", line)
	}
}

func TestLogger(t *testing.T) {
	var out strings.Builder
	c := config.Default()
	c.Name, c.LogLevel = "n1", slog.LevelWarn
	l := NewLogger(&out, c)
	l.Info("hidden")
	l.Warn("shown", "k", 1)
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "msg=shown server=n1 k=1") {
		t.Errorf("text: %q", got)
	}
	out.Reset()
	c.LogFormat = config.LogJSON
	NewLogger(&out, c).Error("shown")
	if got := out.String(); !strings.Contains(got, `"msg":"shown","server":"n1"`) {
		t.Errorf("json: %q", got)
	}
}
