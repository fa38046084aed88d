package node

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/ring"
)

func TestRemembered(t *testing.T) {
	var r remembered
	a := ring.NodeID{1}
	for i, step := range []struct {
		process     uint64
		bound, want causal.HLC
	}{
		{process: 7, bound: 100, want: 0},
		{process: 7, bound: 90, want: 0}, // a late message
		{process: 8, bound: 10, want: 100},
		{process: 8, bound: 300, want: 100},
		{process: 7, bound: 500, want: 100}, // of a process that is over
		{process: 9, bound: 20, want: 300},
	} {
		if got := r.tell(a, step.process, step.bound); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}

func TestRememberedOnDisk(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r remembered
	if r.take() != nil {
		t.Error("nothing was told, and it is to be saved")
	}
	for range 1000 {
		r.tell(ring.NodeID{byte(1 + rng.IntN(9))}, 1+rng.Uint64N(9), causal.HLC(rng.Uint64N(1000)))
		b := r.take()
		if b == nil {
			continue
		}
		if again, err := decodeRemembered(b); err != nil || !maps.Equal(again, r.by) {
			t.Fatalf("%v became %v, %v", r.by, again, err)
		}
	}
	if r.take() != nil {
		t.Error("nothing is new, and it is to be saved")
	}
	r.giveBack()
	good := r.take()
	for _, bad := range [][]byte{nil, {}, {2}, good[:len(good)-1], slices.Concat(good, good[1:])} {
		if got, err := decodeRemembered(bad); err == nil {
			t.Errorf("%d bytes: %v", len(bad), got)
		}
	}
	if got, err := decodeRemembered(good); err != nil || !bytes.Equal(good, (&remembered{by: got, changed: true}).take()) {
		t.Error(got, err)
	}
}
