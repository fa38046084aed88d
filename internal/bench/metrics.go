package bench

import (
	"fmt"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Names of the metrics that are read. Nodes may lack any of them.
const (
	metricCPU          = "process_cpu_seconds_total"
	metricMemory       = "process_resident_memory_bytes"
	metricStart        = "process_start_time_seconds"
	metricAllocated    = "go_memstats_alloc_bytes_total"
	metricFsyncs       = "starling_storage_fsyncs_total"
	metricFsyncSeconds = "starling_storage_fsync_seconds_total"
	metricLogBytes     = "starling_storage_wal_written_bytes_total"
	metricFrames       = "starling_peer_frames_sent_total"
	metricMessages     = "starling_peer_requests_sent_total"
	metricShed         = "starling_requests_shed_total"
)

// Metrics are counters and gauges by name, each the sum over its labels.
type Metrics map[string]float64

// ParseMetrics reads a page in the text format of Prometheus. Histograms and summaries are left out.
func ParseMetrics(page io.Reader) (Metrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(page)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m := make(Metrics, len(families))
	for _, f := range families {
		m.add(f)
	}
	return m, nil
}

func (m Metrics) add(f *dto.MetricFamily) {
	for _, sample := range f.GetMetric() {
		switch f.GetType() {
		case dto.MetricType_COUNTER:
			m[f.GetName()] += sample.GetCounter().GetValue()
		case dto.MetricType_GAUGE:
			m[f.GetName()] += sample.GetGauge().GetValue()
		case dto.MetricType_UNTYPED:
			m[f.GetName()] += sample.GetUntyped().GetValue()
		}
	}
}

// OwnMetrics are those of this process; none where the system does not tell.
func OwnMetrics() Metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := registry.Gather()
	m := make(Metrics)
	if err != nil {
		return m
	}
	for _, f := range families {
		m.add(f)
	}
	return m
}

// CPUSince is how many seconds of CPU time a process has used since its metrics were before; ok is false if they don't
// tell.
func (m Metrics) CPUSince(before Metrics) (seconds float64, ok bool) {
	now, known := m[metricCPU]
	then, knew := before[metricCPU]
	return now - then, known && knew && now >= then
}
