package state

import (
	"bytes"
	"context"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// Two requests that create one bucket with different settings, at two nodes at once, must not both succeed, or
// data that one client stored at N=3 would be read at the other's N=1. Merging can't prevent that: whichever
// entry it keeps, the other may be acknowledged already. So the settings of (name, generation) are claimed
// first: a member grants them to one request, durably and for good, and only what a majority granted becomes
// an entry of the document. When the claims of a generation are split so that none can win any more, the next
// generation is claimed. The majority is one of the base layout's members, so a change of the members must carry
// the claims that old members granted over to new ones, or wait until none is open. A claim is an entry whose altered_hlc is unset; no document may hold one.

// contend returns the entry that a member stands by when asked is claimed: what its document holds and what it
// granted before come first, unless asked is of a later generation.
func contend(committed, granted, asked *pb.BucketEntry) *pb.BucketEntry {
	best := committed
	if granted.GetGeneration() > best.GetGeneration() {
		best = granted
	}
	if asked.GetGeneration() > best.GetGeneration() {
		return asked
	}
	return best
}

// agrees reports whether e is what asked wants: the same settings in the same generation, and not dropped.
func agrees(e, asked *pb.BucketEntry) bool {
	return e.GetGeneration() == asked.GetGeneration() && !e.GetDropped() && sameSettings(e.GetBucket(), asked.GetBucket())
}

func isClaim(e *pb.BucketEntry) bool { return e.GetBucket().GetAlteredHlc() == 0 }

type outcome uint8

const (
	claimOpen      outcome = iota // neither won nor lost: who did not answer decides
	claimWon                      // a majority granted what was asked
	claimRival                    // a majority granted other settings: entry
	claimOvertaken                // a member holds an entry that comes first: entry
	claimSplit                    // no settings can get a majority in this generation any more
)

// poll counts the answers to one claim.
type poll struct {
	asked             *pb.BucketEntry
	members, required int
	answers           map[ring.NodeID]*pb.BucketEntry
}

// outcome judges the answers so far; entry comes with claimRival and claimOvertaken.
func (p *poll) outcome() (o outcome, entry *pb.BucketEntry) {
	best := 0 // most grants of one settings
	for _, a := range p.answers {
		if !agrees(a, p.asked) && (!isClaim(a) || a.GetGeneration() > p.asked.GetGeneration()) {
			return claimOvertaken, a
		}
		same := 0
		for _, b := range p.answers {
			if agrees(b, a) {
				same++
			}
		}
		if best = max(best, same); same >= p.required {
			entry = a
		}
	}
	switch silent := p.members - len(p.answers); {
	case entry != nil && agrees(entry, p.asked):
		return claimWon, nil
	case entry != nil:
		return claimRival, entry
	case best+silent < p.required:
		return claimSplit, nil
	}
	return claimOpen, nil
}

// claim grants asked, durably, unless this node stands by another entry. It returns the one that it stands by. The caller
// counts the members of the base layout of this version.
func (m *Manager) claim(ctx context.Context, asked *pb.BucketEntry, base uint64) (*pb.BucketEntry, error) {
	release, err := take(ctx, m.turn)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := m.mayClaim(base); err != nil {
		return nil, err
	}
	name := asked.GetBucket().GetName()
	committed := m.current.Load().doc.wire.GetBuckets()
	stands := contend(committed[name], m.claims[name], asked)
	if stands != asked {
		return stands, nil
	}
	next := maps.Clone(m.claims)
	// What the document has decided needs no claim any more.
	maps.DeleteFunc(next, func(n string, e *pb.BucketEntry) bool {
		return committed[n].GetGeneration() >= e.GetGeneration()
	})
	if len(next) >= MaxBuckets {
		return nil, &InvalidError{name, "name", "can't be claimed: too many buckets are being created"}
	}
	next[name] = asked
	if err := m.setMessage(metaClaims, &pb.ClusterDocument{Name: m.o.Cluster, Buckets: next}); err != nil {
		return nil, err
	}
	m.claims = next
	return stands, nil
}

func (m *Manager) loadClaims() error {
	stored, err := loadMessage[pb.ClusterDocument](m.o.Store, metaClaims)
	if err != nil {
		return err
	}
	m.claims = make(map[string]*pb.BucketEntry, len(stored.GetBuckets()))
	for name, e := range stored.GetBuckets() {
		if err := checkEntry(name, e); err != nil {
			return fmt.Errorf("blob %q: %w", metaClaims, err)
		}
		m.claims[name] = e
	}
	return nil
}

// hearClaim answers a peer's claim of a bucket's settings with this node's document, in which the entry of
// that name is the one that it stands by.
func (m *Manager) hearClaim(ctx context.Context, req *pb.PushState) (*pb.PushStateReply, error) {
	own := m.current.Load().doc
	if !own.Founded() {
		return nil, ErrNotFounded
	}
	asked, id, err := claimed(req.GetDocument(), req.GetCreateBucket())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(id, own.wire.GetClusterId()) {
		return nil, &ConflictError{"cluster id", fmt.Sprintf("%x", own.wire.GetClusterId()), fmt.Sprintf("%x", id)}
	}
	stands, err := m.claim(ctx, asked, req.GetBaseVersion())
	if err != nil {
		return nil, err
	}
	raw, err := proto.Marshal(claimDocument(m.current.Load().doc, stands))
	if err != nil {
		return nil, fmt.Errorf("encode the reply to a claim: %w", err)
	}
	return &pb.PushStateReply{Document: raw}, nil
}

// claimDocument is d with e in its place, committed or not.
func claimDocument(d *Document, e *pb.BucketEntry) *pb.ClusterDocument {
	buckets := make(map[string]*pb.BucketEntry, len(d.wire.GetBuckets())+1)
	maps.Copy(buckets, d.wire.GetBuckets())
	buckets[e.GetBucket().GetName()] = e
	return &pb.ClusterDocument{
		Name: d.wire.GetName(), ClusterId: d.wire.GetClusterId(), Incarnation: d.wire.GetIncarnation(),
		Epochs: d.wire.GetEpochs(), Buckets: buckets, Nodes: d.wire.GetNodes(),
	}
}

// claimed reads what claimDocument wrote: the entry of that name and the cluster's id.
func claimed(raw []byte, name string) (e *pb.BucketEntry, clusterID []byte, err error) {
	if len(raw) > MaxDocumentBytes {
		return nil, nil, &DocumentError{What: fmt.Sprintf("%d bytes, at most %d are allowed", len(raw), MaxDocumentBytes)}
	}
	d := new(pb.ClusterDocument)
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, d); err != nil {
		return nil, nil, &DocumentError{What: "not a protobuf message of its type", Err: err}
	}
	e = d.GetBuckets()[name]
	if e == nil {
		return nil, nil, &DocumentError{What: fmt.Sprintf("has no entry of bucket %q", name)}
	}
	return e, d.GetClusterId(), checkEntry(name, e)
}
