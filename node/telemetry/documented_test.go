package telemetry

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// manual is the page for those who run nodes.
const manual = "../../docs/operations.md"

var (
	metricRow  = regexp.MustCompile("(?m)^\\| `(starling_[a-z0-9_]+)` \\| (counter|gauge|histogram) \\| ([a-z, ]*)\\| [^|]+ \\|$")
	metricName = regexp.MustCompile(`starling_[a-z0-9_]+`)
	described  = regexp.MustCompile(`fqName: "(starling_[a-z0-9_]+)"`)
	suffix     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// TestMetricsAreDocumented holds the manual to the metrics that there are: each has one row with its type and labels, and
// no row, sentence or query names one that there isn't.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	want, histograms := families(t)
	got := map[string]string{}
	for _, row := range metricRow.FindAllStringSubmatch(string(page), -1) {
		if _, twice := got[row[1]]; twice {
			t.Errorf("%s has two rows", row[1])
		}
		got[row[1]] = row[2] + " " + strings.TrimSpace(row[3])
	}
	for name, kind := range want {
		if got[name] != kind {
			t.Errorf("%s: the row says %q, want %q", name, got[name], kind)
		}
	}
	for _, name := range metricName.FindAllString(string(page), -1) {
		base := suffix.ReplaceAllString(name, "")
		if _, there := want[name]; !there && !histograms[base] {
			t.Errorf("%s names %s, which there isn't", manual, name)
		}
	}
}

// families are all metrics of ours by name, each with its type and labels, and which of them are histograms.
func families(t *testing.T) (kinds map[string]string, histograms map[string]bool) {
	t.Helper()
	m := NewMetrics("test")
	fill(m)
	gathered, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds, histograms = map[string]string{}, map[string]bool{}
	for _, f := range gathered {
		if !strings.HasPrefix(f.GetName(), namespace+"_") {
			continue
		}
		labels := []string{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		if i := slices.Index(labels, "verb"); i > 0 { // sorted here; in the manual as they are asked for
			labels = slices.Insert(slices.Delete(labels, i, i+1), 0, "verb")
		}
		kind := strings.ToLower(f.GetType().String())
		kinds[f.GetName()] = kind + " " + strings.Join(labels, ", ")
		histograms[f.GetName()] = kind == "histogram"
	}
	if have, all := slices.Sorted(maps.Keys(kinds)), describedNames(m); !slices.Equal(have, all) {
		t.Fatalf("filled %v of %v", have, all)
	}
	return kinds, histograms
}

// fill counts everything once, and samples everything.
func fill(m *Metrics) {
	m.Request("get", "quorum", "ok", time.Millisecond)
	for _, method := range reflect.ValueOf(m).Methods() {
		if method.Type().NumIn() == 0 && method.Type().NumOut() == 0 {
			method.Call(nil)
		}
	}
	var s Sources
	fields := reflect.ValueOf(&s).Elem()
	for i := range fields.NumField() {
		kind := fields.Field(i).Type()
		fields.Field(i).Set(reflect.MakeFunc(kind, func([]reflect.Value) (out []reflect.Value) {
			for o := range kind.NumOut() {
				v := reflect.New(kind.Out(o)).Elem()
				if v.Kind() == reflect.Slice {
					v = reflect.MakeSlice(v.Type(), 1, 1)
				}
				out = append(out, v)
			}
			return out
		}))
	}
	m.Observe(s)
}

// describedNames are the metrics of ours that the registry knows, whether or not anything was counted.
func describedNames(m *Metrics) []string {
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		m.registry.Describe(descriptions)
	}()
	names := map[string]bool{}
	for d := range descriptions {
		if found := described.FindStringSubmatch(d.String()); found != nil {
			names[found[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
