package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// namespace begins the name of every metric of ours.
const namespace = "starling"

// requestBuckets span a local read to the default request timeout, in seconds.
var requestBuckets = []float64{
	0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30,
}

// Metrics counts what a node does. All methods are safe for concurrent use and quick enough for the
// request path.
type Metrics struct {
	registry *prometheus.Registry
	sampled  *sampler

	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	shed     prometheus.Counter
	repairs  *prometheus.CounterVec
	hedges   prometheus.Counter
	standIns prometheus.Counter
	fenced   prometheus.Counter
	clock    *prometheus.CounterVec
	repeated prometheus.Counter
}

// NewMetrics returns metrics in a registry of their own, with those of the Go runtime and the process.
// version is the binary's.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), sampled: newSampler()}
	m.requests = prometheus.NewCounterVec(opts("requests_total",
		"Client requests by verb, consistency level and result (ok, or the reason of the error)."), []string{"verb", "level", "result"})
	m.latency = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "request_duration_seconds", Buckets: requestBuckets,
		Help: "Time from taking a client request in to its reply, by verb and consistency level.",
	}, []string{"verb", "level"})
	m.shed = prometheus.NewCounter(opts("requests_shed_total", "Client requests refused because too many were in flight."))
	m.repairs = prometheus.NewCounterVec(opts("read_repairs_total",
		"States sent to replicas that a read found behind, by when: before the reply or after it."), []string{"when"})
	m.hedges = prometheus.NewCounter(opts("hedged_reads_total", "Reads that asked one more replica because another was slow."))
	m.standIns = prometheus.NewCounter(opts("stand_ins_total", "Writes that a fallback took for an owner, with a hint."))
	m.fenced = prometheus.NewCounter(opts("stale_epoch_total", "Requests of peers refused because the ring had changed."))
	m.clock = prometheus.NewCounterVec(opts("clock_refusals_total",
		"What was refused because a clock was too far ahead, by whose: a peer's or a client's."), []string{"source"})
	m.repeated = prometheus.NewCounter(opts("repeated_puts_total", "Puts that were known by their request id already, and minted nothing."))
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the label is the binary's version.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.requests, m.latency, m.shed, m.repairs, m.hedges, m.standIns, m.fenced, m.clock, m.repeated, build, m.sampled,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func opts(name, help string) prometheus.CounterOpts {
	return prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}
}

// Request counts a client request that ended: result is "ok" or the reason of its error. All three labels
// must come from short lists, never from what a client sent.
func (m *Metrics) Request(verb, level, result string, took time.Duration) {
	m.requests.WithLabelValues(verb, level, result).Inc()
	m.latency.WithLabelValues(verb, level).Observe(took.Seconds())
}

// Shed counts a client request that was refused because too many were in flight.
func (m *Metrics) Shed() { m.shed.Inc() }

// WriteBack counts a state sent to a replica that was behind before the read was answered, ReadRepair one
// sent after the answer.
func (m *Metrics) WriteBack() { m.repairs.WithLabelValues("before_reply").Inc() }

// ReadRepair counts a state sent to a replica that was behind, after the read was answered.
func (m *Metrics) ReadRepair() { m.repairs.WithLabelValues("after_reply").Inc() }

// Hedge counts a read that asked one more replica because another was slow.
func (m *Metrics) Hedge() { m.hedges.Inc() }

// StandIn counts a write that a fallback took for an owner.
func (m *Metrics) StandIn() { m.standIns.Inc() }

// StaleEpoch counts a peer's request that was refused because the ring had changed.
func (m *Metrics) StaleEpoch() { m.fenced.Inc() }

// PeerClockRefused counts a peer's message whose clock was too far ahead.
func (m *Metrics) PeerClockRefused() { m.clock.WithLabelValues("peer").Inc() }

// ClientClockRefused counts a client's request id whose clock was too far ahead.
func (m *Metrics) ClientClockRefused() { m.clock.WithLabelValues("client").Inc() }

// RepeatedPut counts a put whose request id was known already.
func (m *Metrics) RepeatedPut() { m.repeated.Inc() }

const (
	maxScrapes    = 4
	scrapeTimeout = 10 * time.Second
)

// Handler serves the metrics. It answers a few scrapes at a time and refuses more.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
		Registry:            m.registry,
	})
}
