package spread

// maxPrints bounds the fingerprints that a book remembers.
const maxPrints = 4096

// book says whose document to fetch. As documents only grow, what once was merged need not be asked for again: neither
// from the node that had it nor from any other that shows the same fingerprint. Those who lack something of this node's ask for it
// themselves, as they see its fingerprint.
type book struct {
	known map[uint64]bool // fingerprints whose documents this node's contains
	away  map[Peer]bool   // failed since the last retry
}

// choose is a peer that may have something that this node lacks: at random one of those whose epoch is the highest. pick returns a
// number below n.
func (b *book) choose(own uint64, peers []Peer, pick func(n int) int) (chosen Peer, ok bool) {
	b.know(own)
	var best []Peer
	for _, p := range peers {
		switch {
		case b.known[p.Print] || b.away[p]:
		case len(best) > 0 && p.Epoch < best[0].Epoch:
		case len(best) > 0 && p.Epoch > best[0].Epoch:
			best = append(best[:0], p)
		default:
			best = append(best, p)
		}
	}
	if len(best) == 0 {
		return Peer{}, false
	}
	return best[pick(len(best))], true
}

// know notes that this node's document contains the one with a fingerprint.
func (b *book) know(print uint64) {
	if b.known == nil || len(b.known) >= maxPrints && !b.known[print] {
		b.known = make(map[uint64]bool)
	}
	b.known[print] = true
}

// failed notes that a peer could not be asked: others with the same fingerprint are.
func (b *book) failed(p Peer) {
	if b.away == nil {
		b.away = make(map[Peer]bool)
	}
	b.away[p] = true
}

// retry has peers asked again that could not be asked before.
func (b *book) retry() { clear(b.away) }
