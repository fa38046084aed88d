package storage

import (
	"context"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

// A cut and its end leave what tokens are claimed at as it was, or claim less; a crash at any time leaves one number of
// partitions or the other.
func TestClaimsAtOtherNumbersOfPartitions(t *testing.T) {
	claim := func(p, floor, purge int) Claim {
		return Claim{N: 3, Partition: p, Floor: causal.HLC(floor), PurgeLevel: causal.HLC(purge)}
	}
	again := func(p, purge int) Claim {
		return Claim{N: 3, Partition: p, PurgeLevel: causal.HLC(purge), Rebuilding: true}
	}
	for name, c := range map[string]struct {
		from, to     int
		before, want []Claim
	}{
		"as many":                     {2, 2, []Claim{claim(1, 20, 10)}, []Claim{claim(1, 20, 10)}},
		"cut":                         {2, 4, []Claim{claim(1, 20, 10)}, []Claim{claim(4, 20, 10), claim(5, 20, 10), claim(6, 20, 10), claim(7, 20, 10)}},
		"cut while it is rebuilt":     {2, 3, []Claim{again(0, 10)}, []Claim{again(0, 10), again(1, 10)}},
		"whole again":                 {3, 2, []Claim{claim(2, 20, 10), claim(3, 20, 10)}, []Claim{claim(1, 20, 10)}},
		"the lowest floor":            {3, 2, []Claim{claim(2, 20, 10), claim(3, 30, 10)}, []Claim{claim(1, 20, 10)}},
		"one part claims nothing":     {3, 2, []Claim{claim(2, 20, 0)}, nil},
		"one part has purged further": {3, 2, []Claim{claim(2, 20, 5), claim(3, 30, 25)}, []Claim{again(1, 25)}},
		"one part is rebuilt":         {3, 2, []Claim{claim(2, 20, 5), again(3, 7)}, []Claim{again(1, 7)}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, fs)
			ctx := context.Background()
			must(t, s.SetClaims(ctx, c.from, c.before))
			if got := s.ClaimsAt(c.to); !slices.Equal(got, c.want) {
				t.Errorf("before the change: %v, want %v", got, c.want)
			}
			if got := s.Claims(); !slices.Equal(got, c.before) {
				t.Errorf("looking changed them: %v", got)
			}
			other := Claim{N: 2, Partition: 0, Floor: 1}
			must(t, s.SetClaims(ctx, c.to, []Claim{other}))
			want := append([]Claim{other}, c.want...)
			if got := s.Claims(); !slices.Equal(got, want) {
				t.Errorf("after it: %v, want %v", got, want)
			}
			mustClose(t, s)
			s = open(t, fs)
			if got := s.Claims(); !slices.Equal(got, want) {
				t.Errorf("after a restart: %v, want %v", got, want)
			}
			mustClose(t, s)
		})
	}
}
