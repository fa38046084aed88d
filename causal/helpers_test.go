package causal

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// rid makes a request id whose order follows n; 0 is no id.
func rid(n int) RequestID {
	if n == 0 {
		return RequestID{}
	}
	r := RequestID{6: 0x70, 8: 0x80}
	r[4], r[5] = byte(n>>8), byte(n)
	return r
}

// ridNumber is the inverse of rid.
func ridNumber(r RequestID) int { return int(r[4])<<8 | int(r[5]) }

// ver makes a version of request n with its dot and what it has seen.
func ver(actor, hlc uint64, n int, past Past) Version {
	return Version{
		Dot: Dot{Actor(actor), HLC(hlc)}, RequestID: rid(n), Past: past,
		Value: fmt.Appendf(nil, "value %d", n),
	}
}

func state(vs ...Version) State { return State{Versions: vs} }

// saw makes the past of a writer that has read the versions.
func saw(vs ...Version) Past { return State{Versions: vs}.Context() }

func mergeAll(p Policy, ss ...State) State {
	var out State
	for _, s := range ss {
		out = Merge(p, out, s)
	}
	return out
}

// requests lists the request numbers of a state's versions in ascending order.
func requests(s State) []int {
	var out []int
	for i := range s.Versions {
		out = append(out, ridNumber(s.Versions[i].RequestID))
	}
	slices.Sort(out)
	return out
}

func wantRequests(t *testing.T, s State, want ...int) {
	t.Helper()
	if got := requests(s); !slices.Equal(got, want) {
		t.Fatalf("versions of requests %v, want %v in %s", got, want, show(s))
	}
}

func show(s State) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{floor %d, purged to %d", s.Floor, s.PurgeLevel)
	for i := range s.Versions {
		v := &s.Versions[i]
		fmt.Fprintf(&b, "; r%d (%d,%d) tomb=%t saw", ridNumber(v.RequestID), v.Dot.Actor, v.Dot.HLC, v.Tombstone)
		for _, d := range v.Past.Vector() {
			fmt.Fprintf(&b, " (%d,%d)", d.Actor, d.HLC)
		}
		for _, r := range v.Past.Replaced() {
			fmt.Fprintf(&b, " r%d", ridNumber(r))
		}
	}
	return b.String() + "}"
}

// sameState compares everything but whether empty slices are nil.
func sameState(a, b State) bool {
	return a.Floor == b.Floor && a.PurgeLevel == b.PurgeLevel && slices.EqualFunc(a.Versions, b.Versions, sameVersion)
}

func sameVersion(a, b Version) bool {
	return a.Dot == b.Dot && a.Past.Equal(b.Past) && a.RequestID == b.RequestID &&
		a.Tombstone == b.Tombstone && a.ExpiresAt == b.ExpiresAt && string(a.Value) == string(b.Value)
}

// checkCanonical fails unless versions ascend, none replaces another, and none itself.
func checkCanonical(t *testing.T, s State) {
	t.Helper()
	for i := range s.Versions {
		v := &s.Versions[i]
		if i > 0 && s.Versions[i-1].Dot.Compare(v.Dot) >= 0 {
			t.Fatalf("out of order: %s", show(s))
		}
		if v.Past.Covers(v.Dot) || v.Past.Names(v.RequestID) {
			t.Fatalf("a version has seen itself: %s", show(s))
		}
		for j := range s.Versions {
			if i != j && s.Versions[j].Replaces(v) {
				t.Fatalf("version %d replaces version %d: %s", j, i, show(s))
			}
		}
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x5eed)) }
