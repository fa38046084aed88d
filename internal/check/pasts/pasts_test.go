package pasts

import (
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/internal/history"
)

var key = history.Key{Bucket: "b", Partition: "p"}

// id makes the request id of a write: its first byte after the time tells it from others.
func id(n byte) causal.RequestID { return causal.RequestID{6: 0x70, 8: 0x80, 15: n} }

func dot(actor causal.Actor, ms int64) causal.Dot {
	return causal.Dot{Actor: actor, HLC: causal.NewHLC(ms, 0)}
}

// write is an acknowledged put; saw are the numbers of the writes that it had seen.
func write(n byte, d causal.Dot, saw ...byte) history.Op {
	op := history.Op{
		Index: int(n), Kind: history.Put, Key: key, Start: time.Duration(n) * time.Second, End: time.Duration(n)*time.Second + 1,
		Outcome: history.Done, Write: history.IDOf(id(n)), Value: string('a' + rune(n)), Dot: d, Acks: 3, Blind: len(saw) == 0,
	}
	for _, s := range saw {
		op.Saw = append(op.Saw, history.IDOf(id(s)))
	}
	return op
}

// TestCheck holds pasts of a last version against what its writer had seen.
func TestCheck(t *testing.T) {
	first, second := write(1, dot(7, 10)), write(2, dot(8, 20))
	third := write(3, dot(7, 30), 1)
	whole := write(3, dot(7, 30))
	whole.Kind, whole.CoversAll, whole.Blind = history.Delete, true, false
	for _, c := range []struct {
		name string
		last history.Op
		past causal.Past
		want string // of the violation; empty: none
	}{
		{"what it saw", third, causal.NewPast([]causal.Dot{dot(7, 10)}, []causal.RequestID{id(1)}), ""},
		{"a sibling by its dot", third, causal.NewPast([]causal.Dot{dot(7, 10), dot(8, 20)}, nil), "had not seen"},
		{"a sibling by a later dot of its actor", third, causal.NewPast([]causal.Dot{dot(8, 25)}, nil), "had not seen"},
		{"a sibling by its request id", third, causal.NewPast(nil, []causal.RequestID{id(2)}), "had not seen"},
		{"a sibling by an earlier dot", third, causal.NewPast([]causal.Dot{dot(8, 19)}, nil), ""},
		{"a delete of whatever is there", whole, causal.NewPast([]causal.Dot{dot(7, 10), dot(8, 20)}, nil), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := causal.State{Versions: []causal.Version{{Dot: c.last.Dot, Past: c.past, RequestID: id(3), Value: []byte("d"), Tombstone: c.last.Kind == history.Delete}}}
			run := &history.Run{
				Buckets: map[string]history.Bucket{"b": {Policy: history.Siblings, N: 3}},
				Ops:     []history.Op{first, second, c.last},
				Finals:  []history.Final{{Key: key, Copies: []history.Copy{{Node: "n1", Owner: true, State: causal.AppendState(nil, state)}}}},
			}
			expect(t, Check(run), c.want)
		})
	}
}

// TestClosed holds what a read shows against what its actors had minted before.
func TestClosed(t *testing.T) {
	first, second := write(1, dot(7, 10)), write(2, dot(8, 20))
	third, fourth := write(3, dot(7, 30)), write(4, dot(9, 40), 1, 3)
	shown := func(ops ...history.Op) (out []history.Version) {
		for _, op := range ops {
			out = append(out, history.Version{Write: op.Write, Dot: op.Dot, Value: op.Value})
		}
		return out
	}
	for _, c := range []struct {
		name     string
		versions []history.Version
		want     string // of the violation; empty: none
	}{
		{"the first alone", shown(first), ""},
		{"both of an actor", shown(first, third), ""},
		{"another actor's alone", shown(second), ""},
		{"the second without the first", shown(second, third), "neither shows nor covers"},
		{"what replaced both", shown(fourth), ""},
		{"nothing", nil, ""},
	} {
		read := history.Op{Index: 9, Kind: history.Read, Key: key, Start: time.Minute, End: time.Minute + 1, Outcome: history.Done, Versions: c.versions}
		run := &history.Run{
			Buckets: map[string]history.Bucket{"b": {Policy: history.Siblings, N: 3}},
			Ops:     []history.Op{first, second, third, fourth, read},
		}
		t.Run(c.name, func(t *testing.T) { expect(t, Check(run), c.want) })
	}
}

func TestDamagedState(t *testing.T) {
	run := &history.Run{
		Buckets: map[string]history.Bucket{"b": {Policy: history.Siblings, N: 3}},
		Finals:  []history.Final{{Key: key, Copies: []history.Copy{{Node: "n1", State: []byte{0xff}}}}},
	}
	expect(t, Check(run), "can't be decoded")
}

func expect(t *testing.T, got []history.Violation, want string) {
	t.Helper()
	switch {
	case want == "" && len(got) > 0:
		t.Errorf("complains: %v", got)
	case want != "" && (len(got) == 0 || !strings.Contains(got[0].Message, want)):
		t.Errorf("says %v, want %q", got, want)
	}
}
