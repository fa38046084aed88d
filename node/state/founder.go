package state

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// maxAbandoned bounds the list of given up proposals. Each costs a change of the candidates.
const maxAbandoned = 1024

// founder is what a founding's runner remembers. Durable: the one proposal and the ids of those given up. A
// proposal is live while its id is not among these, so giving it up is one durable write, made before any voter
// is released; a proposal that was given up is never decided.
type founder struct {
	proposal  *pb.Vote // nil: none was drawn
	doc       *Document
	abandoned [][]byte

	decided   bool                 // in this run
	granted   map[ring.NodeID]bool // their votes to the live proposal
	told      map[ring.NodeID]bool // have adopted what was decided
	unwilling map[ring.NodeID]bool // expect another number of nodes, or none
	released  map[ring.NodeID]bool // have had all cancellations
}

func (f *founder) load(s Store) error {
	f.granted, f.told = make(map[ring.NodeID]bool), make(map[ring.NodeID]bool)
	f.unwilling, f.released = make(map[ring.NodeID]bool), make(map[ring.NodeID]bool)
	raw, err := s.Meta(metaAbandoned)
	if err != nil {
		return err
	}
	for id := range slices.Chunk(raw, proposalIDLen) {
		f.abandoned = append(f.abandoned, id)
	}
	if f.proposal, err = loadMessage[pb.Vote](s, metaProposal); err != nil || f.proposal == nil {
		return err
	}
	f.doc, err = DecodeDocument(f.proposal.GetDocument())
	return err
}

// live reports whether there is a proposal that was not given up.
func (f *founder) live() bool {
	return f.proposal != nil && !slices.ContainsFunc(f.abandoned, func(id []byte) bool {
		return bytes.Equal(id, f.proposal.GetProposalId())
	})
}

// members are those of the live proposal; nil: there is none.
func (f *founder) members() []NodeAttributes {
	if !f.live() {
		return nil
	}
	out := make([]NodeAttributes, 0, len(f.doc.newest.Base.Members()))
	for _, m := range f.doc.newest.Base.Members() {
		out = append(out, NodeAttributesOf(f.doc.wire.GetNodes()[hex.EncodeToString(m.ID[:])]))
	}
	return out
}

// abandon gives the proposal up, durably, before any voter is released from it.
func (m *Manager) abandon(ctx context.Context) error {
	f := &m.founder
	if len(f.abandoned) >= maxAbandoned {
		m.explain("has given up too many proposals: keep the nodes running, and empty this one's data directory")
		return nil
	}
	list := append(slices.Clone(f.abandoned), f.proposal.GetProposalId())
	if err := m.o.Store.SetMeta(metaAbandoned, bytes.Join(list, nil)); err != nil {
		return fmt.Errorf("persist %q: %w", metaAbandoned, err)
	}
	f.abandoned = list
	clear(f.granted)
	clear(f.released)
	m.release(ctx, m.situation().candidates)
	return nil
}

// release sends the cancellations of all given up proposals to the candidates that have not had them.
func (m *Manager) release(ctx context.Context, candidates []Candidate) {
	f := &m.founder
	if len(f.abandoned) == 0 {
		return
	}
	var to []ring.NodeID
	for _, c := range candidates {
		if !f.released[c.ID] && !c.Founded {
			to = append(to, c.ID)
		}
	}
	done := make([]bool, len(to))
	m.toEach(ctx, to, func(ctx context.Context, i int) {
		done[i] = true
		for _, id := range f.abandoned {
			reply, err := m.send(ctx, to[i], &pb.Propose{Step: pb.Propose_STEP_CANCEL, ProposalId: id, FounderId: m.o.ID[:]})
			done[i] = done[i] && err == nil && reply.GetGranted()
		}
	})
	for i, id := range to {
		f.released[id] = done[i]
	}
}
