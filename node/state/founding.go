package state

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// maxDecideRounds bounds how often the founder tells those who did not answer. They learn it by gossip too.
const maxDecideRounds = 40

// Run founds the cluster, or waits until a peer brings its document (Offer). It returns nil once this node
// belongs to a cluster, and the founder has told the others; ctx's error before that; or the store's, which is
// fatal. Call it once.
func (m *Manager) Run(ctx context.Context) error {
	ticker := time.NewTicker(m.o.Interval)
	defer ticker.Stop()
	for rounds := 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if m.Snapshot().Founded() {
			if rounds++; m.tellDecision(ctx) || rounds >= maxDecideRounds {
				return nil
			}
			continue
		}
		if err := m.found(ctx); err != nil {
			return fmt.Errorf("found cluster %q: %w", m.o.Cluster, err)
		}
	}
}

// found takes one step. Its errors are those that no later step can mend.
func (m *Manager) found(ctx context.Context) error {
	s := m.situation()
	next, members, why := s.plan()
	m.explain(why)
	switch next {
	case stepAbandon:
		return m.abandon(ctx)
	case stepPropose:
		return m.propose(ctx, members)
	case stepCollect:
		return m.collect(ctx)
	}
	if len(s.unwilling) > 0 {
		clear(m.founder.unwilling) // they may have been started anew with other flags
	}
	m.release(ctx, s.candidates)
	return nil
}

func (m *Manager) situation() situation {
	s := situation{
		self: m.o.ID, founder: m.o.Founder, expect: m.o.Expect, bound: m.o.ClusterID != [16]byte{},
		unwilling: m.founder.unwilling, proposed: m.founder.members(),
	}
	s.candidates = slices.DeleteFunc(slices.Clone(m.o.Candidates()), func(c Candidate) bool { return c.ID == m.o.ID })
	s.candidates = append(s.candidates, Candidate{NodeAttributes: m.Self()})
	return s
}

// explain keeps and logs what the founding waits for, when that changes.
func (m *Manager) explain(why string) {
	if before := m.waiting.Swap(&why); before == nil || *before != why {
		m.log.Info("the node belongs to no cluster yet", "cluster", m.o.Cluster, "state", why)
	}
}

// propose draws and persists a proposal. Votes are asked for from the next step on.
func (m *Manager) propose(ctx context.Context, members []Candidate) error {
	if m.Self().Name == "" {
		return errors.New("this node's attributes are not set")
	}
	id := make([]byte, proposalIDLen)
	if _, err := io.ReadFull(m.o.Rand, id); err != nil {
		return fmt.Errorf("draw a proposal id: %w", err)
	}
	doc, err := m.newCluster(members)
	if err != nil {
		m.explain("can't propose the cluster: " + err.Error())
		return nil
	}
	p := &pb.Vote{ProposalId: id, FounderId: m.o.ID[:], Document: doc.Bytes()}
	if err := m.setMessage(metaProposal, p); err != nil {
		return err
	}
	m.founder.proposal, m.founder.doc, m.founder.granted = p, doc, make(map[ring.NodeID]bool)
	return m.collect(ctx)
}

// newCluster is the document of a new cluster of these members, with an id of its own.
func (m *Manager) newCluster(members []Candidate) (*Document, error) {
	wire := &pb.ClusterDocument{Name: m.o.Cluster, ClusterId: make([]byte, clusterIDLen), Nodes: make(map[string]*pb.NodeAttributes)}
	if _, err := io.ReadFull(m.o.Rand, wire.ClusterId); err != nil {
		return nil, fmt.Errorf("draw a cluster id: %w", err)
	}
	in := ring.PlanInput{Partitions: m.o.Partitions, Replicas: min(MaxReplicas, len(members))}
	for _, c := range members {
		in.Members = append(in.Members, ring.Member{ID: c.ID, Zone: c.Zone, Weight: 1})
		wire.Nodes[hex.EncodeToString(c.ID[:])] = c.NodeAttributes.Proto()
	}
	layout, err := ring.Plan(in)
	if err != nil {
		return nil, fmt.Errorf("plan the ring: %w", err)
	}
	wire.Epochs = map[uint64][]byte{0: ring.AppendEpoch(nil, ring.Genesis(layout))}
	bucket, err := normalize(&pb.Bucket{Name: DefaultBucket}, len(members))
	if err != nil {
		return nil, err
	}
	h, err := m.o.HLC(causal.HLC(0))
	if err != nil {
		return nil, err
	}
	bucket.Id, bucket.CreatedHlc, bucket.AlteredHlc = BucketID(DefaultBucket, 1), uint64(h), uint64(h)
	wire.Buckets = map[string]*pb.BucketEntry{DefaultBucket: {Bucket: bucket, Generation: 1}}
	return newDocument(wire)
}
