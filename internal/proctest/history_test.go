//go:build unix

package proctest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
)

// readers is how many reads a check has under way.
const readers = 16

// readAll reads every key of the records, each with patience for a cluster that still settles.
func readAll(t *testing.T, cl *client.Client, records []*record, opts ...client.CallOption) map[string][]string {
	t.Helper()
	start := time.Now()
	keys := make(map[string]client.Key)
	for _, r := range records {
		keys[r.key.String()] = r.key
	}
	work := make(chan client.Key)
	found := make(map[string][]string, len(keys))
	var mu sync.Mutex
	var running sync.WaitGroup
	for range readers {
		running.Go(func() {
			for key := range work {
				got, err := patientGet(cl, key, opts)
				if err != nil {
					t.Errorf("read %s: %v", key, err)
					continue
				}
				var values []string
				for _, v := range got.Versions {
					values = append(values, string(v.Value))
				}
				mu.Lock()
				found[key.String()] = values
				mu.Unlock()
			}
		})
	}
	for _, key := range keys {
		work <- key
	}
	close(work)
	running.Wait()
	t.Logf("read %d items in %v", len(keys), time.Since(start))
	return found
}

func patientGet(cl *client.Client, key client.Key, opts []client.CallOption) (*client.Result, error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		got, err := cl.Get(context.Background(), bucket, key, opts...)
		if err == nil || time.Now().After(deadline) {
			return got, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// checkHistory holds what was read of every key against what was written: an acknowledged value is there, or was
// replaced by writes that had seen it, of which the last is there; a refused one is nowhere; no value is there twice,
// and none that nobody wrote.
func checkHistory(t *testing.T, records []*record, found map[string][]string) {
	t.Helper()
	byKey := make(map[string][]*record)
	for _, r := range records {
		byKey[r.key.String()] = append(byKey[r.key.String()], r)
	}
	faults := 0
	for key, writes := range byKey {
		for _, fault := range checkKey(writes, found[key]) {
			if faults++; faults <= 20 {
				t.Errorf("%s: %s", key, fault)
			}
		}
	}
	if faults > 20 {
		t.Errorf("and %d more", faults-20)
	}
}

// checkKey judges one key.
func checkKey(writes []*record, found []string) (faults []string) {
	byValue := make(map[string]*record, len(writes))
	for _, w := range writes {
		byValue[w.value] = w
	}
	// reached: there, or replaced by what is.
	reached := make(map[string]bool)
	queue := make([]string, 0, len(found))
	for _, v := range found {
		switch w := byValue[v]; {
		case w == nil:
			faults = append(faults, fmt.Sprintf("holds %q, which nobody wrote", v))
		case w.outcome == refused:
			faults = append(faults, fmt.Sprintf("holds %q, whose write was refused: %v", v, w.err))
		case reached[v]:
			faults = append(faults, fmt.Sprintf("holds %q twice", v))
		}
		reached[v] = true
		queue = append(queue, v)
	}
	for len(queue) > 0 {
		w := byValue[queue[0]]
		queue = queue[1:]
		if w == nil {
			continue
		}
		for _, v := range w.saw {
			if !reached[v] {
				reached[v] = true
				queue = append(queue, v)
			}
		}
	}
	for _, w := range writes {
		if w.outcome == acknowledged && !reached[w.value] {
			faults = append(faults, fmt.Sprintf("lost %q, acknowledged at %s; there are [%s]",
				w.value, w.end.Format("15:04:05.000"), strings.Join(found, " ")))
		}
	}
	return faults
}

// TestCheckKey shows the checker histories that it must and must not accept.
func TestCheckKey(t *testing.T) {
	write := func(value string, o outcome, saw ...string) *record {
		return &record{key: client.NewKey("k", ""), value: value, outcome: o, saw: saw}
	}
	for _, c := range []struct {
		name   string
		writes []*record
		found  []string
		want   string // of the first fault; empty: none
	}{
		{"there", []*record{write("a", acknowledged)}, []string{"a"}, ""},
		{"lost", []*record{write("a", acknowledged)}, nil, `lost "a"`},
		{"refused", []*record{write("a", refused)}, nil, ""},
		{"refused and there", []*record{write("a", refused)}, []string{"a"}, "was refused"},
		{"unknown and there", []*record{write("a", unknown)}, []string{"a"}, ""},
		{"unknown and not there", []*record{write("a", unknown)}, nil, ""},
		{"twice", []*record{write("a", acknowledged)}, []string{"a", "a"}, "twice"},
		{"nobody's", []*record{write("a", acknowledged)}, []string{"a", "b"}, "nobody wrote"},
		{"replaced", []*record{write("a", acknowledged), write("b", acknowledged, "a"), write("c", unknown, "b")}, []string{"c"}, ""},
		{"overwritten unseen", []*record{write("a", acknowledged), write("b", acknowledged)}, []string{"b"}, `lost "a"`},
		{"replaced by what is lost", []*record{write("a", acknowledged), write("b", unknown, "a")}, nil, `lost "a"`},
	} {
		faults := checkKey(c.writes, c.found)
		if c.want == "" && len(faults) > 0 || c.want != "" && !strings.Contains(strings.Join(faults, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", c.name, faults, c.want)
		}
	}
}
