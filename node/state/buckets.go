package state

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/starling-db/starling/causal"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// maxClaimRounds bounds how often a create starts again after it learned of another entry of its name.
const maxClaimRounds = 8

const (
	opCreate = "create bucket"
	opAlter  = "alter bucket"
	opDrop   = "drop bucket"
)

// Create makes a bucket that a majority of the members hold durably. Doing it again with the same settings is no
// error, created is then false. Errors: ErrNotFounded, *InvalidError, ErrBucketExists, *MajorityError.
func (m *Manager) Create(ctx context.Context, in *pb.Bucket) (b *Bucket, created bool, err error) {
	release, err := m.begin(ctx, opCreate, in.GetName())
	if err != nil {
		return nil, false, err
	}
	defer release()
	want, err := normalize(in, len(m.Snapshot().Epoch.Base.Members()))
	if err != nil {
		return nil, false, err
	}
	var floor uint64 // the lowest generation that can still be had
	for range maxClaimRounds {
		have := m.entry(want.GetName())
		if have != nil && !have.GetDropped() {
			return m.settleExisting(ctx, have, want)
		}
		asked, err := m.newEntry(want, max(floor, have.GetGeneration()+1))
		if err != nil {
			return nil, false, err
		}
		base := m.Snapshot().Epoch.Base
		switch result, other, err := m.ballot(ctx, asked, base); {
		case err != nil:
			return nil, false, err
		case result == claimWon:
			b, err := m.commitUnder(ctx, opCreate, committed(asked), base)
			return b, err == nil, err
		case result == claimRival:
			other = committed(other)
			fallthrough
		case result == claimOvertaken && !isClaim(other):
			if err := m.learn(ctx, other); err != nil {
				return nil, false, err
			}
		case result == claimOvertaken:
			floor = other.GetGeneration()
		default: // split
			floor = asked.GetGeneration() + 1
		}
	}
	return nil, false, fmt.Errorf("create bucket %q: other requests kept creating and dropping it; try again", want.GetName())
}

// Alter changes a bucket's default R and W, its durability and its time to live; what is unset stays. Errors: ErrNotFounded,
// ErrUnknownBucket, *InvalidError, *MajorityError.
func (m *Manager) Alter(ctx context.Context, req *pb.AlterBucketRequest) (*Bucket, error) {
	release, err := m.begin(ctx, opAlter, req.GetName())
	if err != nil {
		return nil, err
	}
	defer release()
	have := m.entry(req.GetName())
	if have == nil || have.GetDropped() {
		return nil, &BucketError{req.GetName(), ErrUnknownBucket}
	}
	next := proto.CloneOf(have)
	if !unset(req.GetR()) {
		next.Bucket.R = level(req.GetR())
	}
	if !unset(req.GetW()) {
		next.Bucket.W = level(req.GetW())
	}
	if d := req.GetDurability(); d != pb.Durability_DURABILITY_UNSPECIFIED {
		next.Bucket.Durability = d
	}
	ttl, ok := ResolveTTL(req.GetTtl(), millis(next.GetBucket().GetTtlMs()))
	if !ok {
		return nil, &InvalidError{req.GetName(), "ttl", ttlBounds}
	}
	next.Bucket.TtlMs = ttl.Milliseconds()
	if err := checkSettings(next.GetBucket()); err != nil {
		return nil, err
	}
	h, err := m.o.HLC(causal.HLC(have.GetBucket().GetAlteredHlc()))
	if err != nil {
		return nil, fmt.Errorf("alter bucket %q: %w", req.GetName(), err)
	}
	next.Bucket.AlteredHlc = uint64(h)
	return m.commit(ctx, opAlter, next)
}

// Drop removes a bucket; its id never comes back (see Snapshot.DroppedBuckets). Errors: ErrNotFounded,
// ErrUnknownBucket, *InvalidError for "default", *MajorityError.
func (m *Manager) Drop(ctx context.Context, name string) error {
	release, err := m.begin(ctx, opDrop, name)
	if err != nil {
		return err
	}
	defer release()
	if name == DefaultBucket {
		return &InvalidError{name, "name", "is of the bucket that always exists; it can't be dropped"}
	}
	have := m.entry(name)
	if have == nil || have.GetDropped() {
		return &BucketError{name, ErrUnknownBucket}
	}
	h, err := m.o.HLC(causal.HLC(have.GetBucket().GetAlteredHlc()))
	if err != nil {
		return fmt.Errorf("drop bucket %q: %w", name, err)
	}
	next := proto.CloneOf(have)
	next.Dropped, next.DroppedHlc = true, uint64(h)
	_, err = m.commit(ctx, opDrop, next)
	return err
}

// begin checks what every act needs and takes their turn.
func (m *Manager) begin(ctx context.Context, op, bucket string) (release func(), err error) {
	if !m.Snapshot().Founded() {
		return nil, ErrNotFounded
	}
	if err := m.majorityLives(op, bucket); err != nil {
		return nil, err
	}
	return take(ctx, m.acts)
}

func (m *Manager) entry(name string) *pb.BucketEntry {
	return m.current.Load().doc.wire.GetBuckets()[name]
}

// newEntry is a claim of settings in the first generation from the given one whose id no other bucket has.
func (m *Manager) newEntry(want *pb.Bucket, generation uint64) (*pb.BucketEntry, error) {
	name := want.GetName()
	snap := m.Snapshot()
	if m.entry(name) == nil && len(m.current.Load().doc.wire.GetBuckets()) >= MaxBuckets {
		return nil, &InvalidError{name, "name", fmt.Sprintf("is one too many: a cluster may use %d, those of dropped buckets included", MaxBuckets)}
	}
	for ; generation <= maxGeneration; generation++ {
		id := BucketID(name, generation)
		if _, taken := snap.BucketByID(id); taken || snap.Dropped(id) {
			continue
		}
		h, err := m.o.HLC(0)
		if err != nil {
			return nil, fmt.Errorf("create bucket %q: %w", name, err)
		}
		b := proto.CloneOf(want)
		b.Id, b.CreatedHlc = id, uint64(h)
		return &pb.BucketEntry{Bucket: b, Generation: generation}, nil
	}
	return nil, &InvalidError{name, "name", "was dropped and created too often"}
}

// committed turns a claim into an entry.
func committed(claim *pb.BucketEntry) *pb.BucketEntry {
	e := proto.CloneOf(claim)
	e.Bucket.AlteredHlc = e.Bucket.CreatedHlc
	return e
}

// settleExisting answers a create of a bucket that this node holds already. An earlier try may have left it on
// fewer than a majority.
func (m *Manager) settleExisting(ctx context.Context, have *pb.BucketEntry, want *pb.Bucket) (*Bucket, bool, error) {
	if !sameSettings(have.GetBucket(), want) {
		return nil, false, &BucketError{want.GetName(), ErrBucketExists}
	}
	b, err := m.commit(ctx, opCreate, have)
	return b, false, err
}
