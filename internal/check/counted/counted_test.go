package counted

import (
	"strings"
	"testing"

	"github.com/starling-db/starling/internal/history"
)

func TestCheck(t *testing.T) {
	owner := func(n string) history.Ack { return history.Ack{Node: n} }
	fallback := func(n string) history.Ack { return history.Ack{Node: n, Fallback: true} }
	for _, c := range []struct {
		name string
		op   history.Op
		want string // of the violation; empty: none
	}{
		{"a quorum", history.Op{Quorum: 2, Acks: 2, AckedBy: []history.Ack{owner("a"), owner("b")}}, ""},
		{"a fallback", history.Op{Quorum: 2, Acks: 2, Fallbacks: 1, AckedBy: []history.Ack{owner("a"), fallback("d")}}, ""},
		{"an owner and its stand-in", history.Op{Quorum: 2, Acks: 2, AckedBy: []history.Ack{owner("a"), owner("b"), fallback("d")}}, ""},
		{"not told", history.Op{Quorum: 2, Acks: 2}, ""},
		{"too few", history.Op{Quorum: 3, Acks: 2}, "2 acknowledgements of 3"},
		{"more than replicas", history.Op{Quorum: 3, Acks: 4}, "4 acknowledgements of 3 replicas"},
		{"one node twice", history.Op{Quorum: 2, Acks: 2, AckedBy: []history.Ack{owner("a"), owner("a")}}, "of 1 nodes"},
		{"one fallback twice", history.Op{Quorum: 2, Acks: 2, Fallbacks: 1, AckedBy: []history.Ack{fallback("d")}}, "of 1 nodes"},
		{"a fallback as an owner", history.Op{Quorum: 2, Acks: 2, AckedBy: []history.Ack{owner("a"), fallback("d")}}, "acknowledgements of owners"},
		{"strict", history.Op{Quorum: 2, Acks: 2, Fallbacks: 1, Strict: true}, "strict"},
	} {
		c.op.Kind, c.op.Outcome, c.op.Key.Bucket = history.Put, history.Done, "b"
		got := Check(&history.Run{Buckets: map[string]history.Bucket{"b": {N: 3}}, Ops: []history.Op{c.op}})
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%s: complains: %v", c.name, got)
		case c.want != "" && (len(got) == 0 || !strings.Contains(got[0].Message, c.want)):
			t.Errorf("%s: says %v, want %q", c.name, got, c.want)
		}
	}
}
