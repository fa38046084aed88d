package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// A bucket is created by a majority of the base layout's members, so a change of these could let it be created a second
// time, with other settings, by new members that know nothing of the first. These rules prevent that:
//
//   - Who has accepted an epoch with other members grants no claim until that epoch is decided (Fence), and what it stores
//     of buckets from then on does not count towards the majority that a creation, alteration or drop waits for.
//   - A member grants a claim only to who counts the members of the layout in force here.
//   - Whoever proposes merges the documents of the acceptors that it counts before it installs what they chose; and an
//     epoch travels in a document only, never by itself.
//
// So let a creation, alteration or drop be acknowledged. A majority of the old members stored it before any of them
// accepted, and that majority shares a member with the one that accepted. So it is in the document of everybody who knows
// the epoch, and no new member grants that generation again.
//
// A creation that is under way when the members change is not acknowledged any more, and is tried again under the new
// members. So that this is rare, acceptors tell of open claims when they promise, and the proposer settles them before it
// has anything accepted; only those that can't be settled, because the members that decide about them are away, are left
// behind: they were promised to nobody.

// mayClaim says whether claims are granted to who counts the members of this layout. The caller has the turn.
func (m *Manager) mayClaim(base uint64) error {
	e := m.current.Load().doc.newest
	switch {
	case e == nil:
		return ErrNotFounded
	case e.Number < m.fenced.Load():
		return fmt.Errorf("epoch %d: %w", e.Number+1, ErrMembersChange)
	case e.Base.Version() != base:
		return fmt.Errorf("layout %d is in force here, and not layout %d: %w", e.Base.Version(), base, ErrMembersChange)
	}
	return nil
}

// standing is the version of the layout in force, and whether this node has accepted an epoch with other members.
func (m *Manager) standing() (base uint64, changing bool) {
	// The fence first: it stands until an epoch comes, so one that is gone was followed by a new layout or by an abort.
	fenced, e := m.fenced.Load(), m.Snapshot().Epoch
	if e == nil {
		return 0, false
	}
	return e.Base.Version(), e.Number < fenced
}

// Fence is called before this node accepts an epoch. If that has other members no claim is granted any more before it, or
// another epoch of its number, is decided. While claims are open that is refused with a *ClaimsError, unless they are to be
// left behind. The fence is not durable: whoever has accepted the epoch calls again after a restart, before this node hears
// of claims.
func (m *Manager) Fence(ctx context.Context, e *ring.Epoch, leaveClaims bool) error {
	release, err := take(ctx, m.turn)
	if err != nil {
		return err
	}
	defer release()
	now := m.current.Load().doc.newest
	if now == nil {
		return ErrNotFounded
	}
	if e.Number <= now.Number || sameMembers(now.Base, e.Base) {
		return nil
	}
	open := m.openClaims()
	if len(open) == 0 || leaveClaims {
		m.fenced.Store(max(m.fenced.Load(), e.Number))
		return nil
	}
	raw, err := m.encodeClaims(open)
	if err != nil {
		return err
	}
	return &ClaimsError{Buckets: slices.Sorted(maps.Keys(open)), Claims: raw}
}

// OpenClaims are the claims that Fence would complain of, for Settle; nil if there are none.
func (m *Manager) OpenClaims(ctx context.Context) ([]byte, error) {
	release, err := take(ctx, m.turn)
	if err != nil {
		return nil, err
	}
	defer release()
	open := m.openClaims()
	if len(open) == 0 {
		return nil, nil
	}
	return m.encodeClaims(open)
}

func (m *Manager) encodeClaims(open map[string]*pb.BucketEntry) ([]byte, error) {
	raw, err := proto.Marshal(&pb.ClusterDocument{Name: m.o.Cluster, Buckets: open})
	if err != nil {
		return nil, fmt.Errorf("encode open claims: %w", err)
	}
	return raw, nil
}

// openClaims are those that the document says nothing about. The caller has the turn.
func (m *Manager) openClaims() map[string]*pb.BucketEntry {
	committed := m.current.Load().doc.wire.GetBuckets()
	open := maps.Clone(m.claims)
	maps.DeleteFunc(open, func(n string, e *pb.BucketEntry) bool {
		return committed[n].GetGeneration() >= e.GetGeneration()
	})
	return open
}

func sameMembers(a, b *ring.Layout) bool {
	return slices.EqualFunc(a.Members(), b.Members(), func(x, y ring.Member) bool { return x.ID == y.ID })
}

// Settle ends creations that others began and left open, as Fence tells them: a bucket comes to be that nobody was promised
// yet, which is what its outcome unknown meant.
func (m *Manager) Settle(ctx context.Context, claims []byte) error {
	if len(claims) > MaxDocumentBytes {
		return &DocumentError{What: fmt.Sprintf("open claims of %d bytes, at most %d are allowed", len(claims), MaxDocumentBytes)}
	}
	list := new(pb.ClusterDocument)
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(claims, list); err != nil {
		return &DocumentError{What: "open claims that are no protobuf message of their type", Err: err}
	}
	if n := len(list.GetBuckets()); n > MaxBuckets {
		return &DocumentError{What: fmt.Sprintf("%d open claims, at most %d are allowed", n, MaxBuckets)}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(list.GetBuckets())) {
		e := list.GetBuckets()[name]
		if err := checkEntry(name, e); err != nil {
			return err
		}
		if err := m.settle(ctx, name, e); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// settle ends one creation.
func (m *Manager) settle(ctx context.Context, name string, asked *pb.BucketEntry) error {
	release, err := m.begin(ctx, opCreate, name)
	if err != nil {
		return err
	}
	defer release()
	for range maxClaimRounds {
		if have := m.entry(name); have.GetGeneration() >= asked.GetGeneration() {
			_, err := m.commit(ctx, opCreate, have)
			return err
		}
		base := m.Snapshot().Epoch.Base
		result, other, err := m.ballot(ctx, asked, base)
		undecided, heard := errors.AsType[*MajorityError](err)
		switch {
		case heard && ctx.Err() == nil && undecided.answered >= undecided.Required:
			// Who is silent might have made it won; but nobody was told so, or one of those that answered would hold the
			// entry. The next generation comes before this one wherever they meet.
			result = claimSplit
		case err != nil:
			return err
		}
		switch result {
		case claimWon:
			_, err := m.commitUnder(ctx, opCreate, committed(asked), base)
			return err
		case claimRival:
			_, err := m.commitUnder(ctx, opCreate, committed(other), base)
			return err
		case claimOvertaken:
			if !isClaim(other) {
				_, err := m.commit(ctx, opCreate, other)
				return err
			}
			asked = other
		default:
			if asked, err = m.newEntry(asked.GetBucket(), asked.GetGeneration()+1); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("create bucket %q: other requests kept creating it; try again", name)
}
