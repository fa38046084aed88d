package node

import (
	"math/rand/v2"
	"testing"

	"github.com/starling-db/starling/ring"
)

// All pairs come up once, none of a node that is in another, and never more than so many at once, in whatever order they end.
func TestPairing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		members := make([]ring.NodeID, 1+rng.IntN(9))
		for i, at := range rng.Perm(len(members)) {
			members[i] = ring.NodeID{byte(at + 1)}
		}
		atOnce := 1 + rng.IntN(4)
		pairs := pairsOf(members, ring.NodeID{})
		if want := len(members) * (len(members) - 1) / 2; len(pairs) != want {
			t.Fatalf("round %d: %d pairs of %d members", round, len(pairs), len(members))
		}
		p := newPairing(pairs, atOnce)
		seen, most := map[nodePair]bool{}, 0
		var out []nodePair
		for !p.ended() {
			if pair, ok := p.next(); ok {
				for _, other := range out {
					if pair[0] == other[0] || pair[0] == other[1] || pair[1] == other[0] || pair[1] == other[1] {
						t.Fatalf("round %d: %v beside %v", round, pair, other)
					}
				}
				if seen[pair] {
					t.Fatalf("round %d: %v twice", round, pair)
				}
				seen[pair], out = true, append(out, pair)
				most = max(most, len(out))
				continue
			}
			if len(out) == 0 {
				t.Fatalf("round %d: nothing is under way and nothing comes up", round)
			}
			i := rng.IntN(len(out))
			p.done(out[i])
			out = append(out[:i], out[i+1:]...)
		}
		if len(seen) != len(pairs) || most > atOnce || most < min(atOnce, len(members)/2) {
			t.Errorf("round %d: %d of %d pairs, %d at once of at most %d", round, len(seen), len(pairs), most, atOnce)
		}
	}
}

func TestPairingDrops(t *testing.T) {
	p := newPairing(pairsOf([]ring.NodeID{{1}, {2}, {3}}, ring.NodeID{}), 4)
	pair, ok := p.next()
	p.drop()
	if _, another := p.next(); !ok || another || p.ended() {
		t.Error("a pair that was dropped came up, or one that is out was forgotten")
	}
	if p.done(pair); !p.ended() {
		t.Error("it goes on")
	}
}

func TestPairsOfOneNode(t *testing.T) {
	members := []ring.NodeID{{3}, {1}, {2}}
	got := pairsOf(members, ring.NodeID{2})
	if len(got) != 2 || got[0] != (nodePair{{1}, {2}}) || got[1] != (nodePair{{2}, {3}}) {
		t.Errorf("%v", got)
	}
	if members[0] != (ring.NodeID{3}) {
		t.Error("the caller's members were sorted")
	}
}
