package history_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/history"
)

func run() *history.Run {
	key := history.Key{Bucket: "b", Partition: "p", Sort: "s"}
	v := history.Version{Write: "w", Dot: causal.Dot{Actor: 1<<64 - 1, HLC: 1<<63 + 1}, Value: "v \n\"ü\""}
	return &history.Run{
		Buckets: map[string]history.Bucket{"b": {Policy: history.LWW, N: 3}},
		Ops: []history.Op{
			{Index: 1, Kind: history.Put, Key: key, Start: 1, End: 3, Outcome: history.Done, Tries: 2, Quorum: 2, Strict: true, Write: "w",
				Value: v.Value, Dot: v.Dot, Acks: 2, Faulted: true, Saw: []history.WriteID{"x"}, AckedBy: []history.Ack{{Node: "n1"}}},
			{Index: 0, Session: 1, Kind: history.Read, Key: key, End: 4, Outcome: history.Done, Versions: []history.Version{v}},
			{Index: 2, Kind: history.Delete, Key: key, Start: 4, End: 5, Outcome: history.Unknown, Error: "too late", CoversAll: true},
		},
		Finals:  []history.Final{{Key: key, Read: []history.Version{v}, Copies: []history.Copy{{Node: "n1", Owner: true, State: []byte{0, 255}}}}},
		Crashes: 1, DisksLost: 2, Gone: []string{"n9"}, HintsLeft: map[string]int{"n1": 0}, HealedAfter: time.Second,
		Samples: []history.Sample{{At: 1, Node: "n1", Goroutines: 5}}, Caps: history.Caps{InFlight: 3},
		Layouts: []history.LayoutView{{Node: "n1", Epoch: 1, Digest: "d", Nodes: []string{"n1"}, Owners: [][]string{{"n1"}}, N: 3}},
	}
}

func written(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	if err := history.Write(&b, run()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWriteReadRun(t *testing.T) {
	text := written(t)
	if n := strings.Count(text, "\n"); n != 6 {
		t.Errorf("%d lines, want one for each of header, 3 operations, final and run:\n%s", n, text)
	}
	got, err := history.ReadRun(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, run()) {
		t.Errorf("got  %+v\nwant %+v", got, run())
	}
}

func TestReadRunRefuses(t *testing.T) {
	text := written(t)
	lines := strings.SplitAfter(text, "\n")
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "line 1"},
		{"another format", `{"format":"x","version":1}`, `"x", version 1`},
		{"another version", `{"format":"starling-history","version":9}`, "version 9: want"},
		{"a broken line", lines[0] + lines[1] + "{\n", "line 3"},
		{"an unknown line", lines[0] + "{}\n", "line 2 is neither"},
		{"a cut", strings.Join(lines[:5], ""), "cut off"},
	} {
		_, err := history.ReadRun(strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := history.ReadRun(strings.NewReader(lines[0])); !errors.Is(err, history.ErrTruncated) {
		t.Errorf("%v, want ErrTruncated", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no room") }

func TestWriteFails(t *testing.T) {
	if err := history.Write(full{}, run()); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("%v, want that there is no room", err)
	}
}

func TestSummarize(t *testing.T) {
	s := history.Summarize(run())
	got := fmt.Sprintf("%d %d %d %d, %d done, %d unknown, %d refused, %.2f", s.Ops, s.Items, s.Acknowledged, s.Faulted,
		s.Outcome(history.Done), s.Outcome(history.Unknown), s.Outcome(history.Refused), s.FaultedShare())
	if want := "3 1 1 1, 2 done, 1 unknown, 0 refused, 0.33"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if text := s.String(); !strings.Contains(text, "33.3 % of them during a fault; 1 writes acknowledged") || strings.Count(text, "\n") != 4 {
		t.Errorf("%s", text)
	}
	if (history.Summary{}).FaultedShare() != 0 {
		t.Error("a share of nothing")
	}
}
