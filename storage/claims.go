package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/starling-db/starling/causal"
)

// Claim is what this replica's data of one partition says about writes that it does not show, for the buckets with N
// replicas. Without one nothing is claimed.
type Claim struct {
	N, Partition int
	// Floor: every write up to it is here, or was replaced. Zero while Rebuilding.
	Floor causal.HLC
	// PurgeLevel: what replaced a write up to it may be gone from here. While Rebuilding, or above Floor, it is not yet so
	// here, but elsewhere: nothing old is taken from those who don't know of that.
	PurgeLevel causal.HLC
	// Rebuilding: the data may lack anything, and has no vote.
	Rebuilding bool
}

// held is what counts when a state comes in.
func (c Claim) held() causal.State {
	return causal.State{Floor: c.Floor, PurgeLevel: c.PurgeLevel}
}

// told is what goes out with a state.
func (c Claim) told() causal.State {
	if c.Rebuilding {
		return causal.State{}
	}
	return causal.State{Floor: c.Floor, PurgeLevel: min(c.PurgeLevel, c.Floor)}
}

// claimTable is immutable: all claims, by N and partition.
type claimTable struct {
	bits int // the binary logarithm of the number of partitions
	byN  map[int]map[int]Claim
}

func (t *claimTable) find(n int, token uint64) (Claim, bool) {
	if t == nil {
		return Claim{}, false
	}
	c, ok := t.byN[n][int(token>>(64-t.bits))]
	return c, ok
}

func (t *claimTable) with(bits int, claims []Claim) *claimTable {
	next := &claimTable{bits: bits, byN: make(map[int]map[int]Claim)}
	if t != nil {
		for n, byPartition := range t.byN {
			next.byN[n] = maps.Clone(byPartition)
		}
	}
	for _, c := range claims {
		if next.byN[c.N] == nil {
			next.byN[c.N] = make(map[int]Claim)
		}
		if c == (Claim{N: c.N, Partition: c.Partition}) {
			delete(next.byN[c.N], c.Partition)
		} else {
			next.byN[c.N][c.Partition] = c
		}
	}
	return next
}

// claims are the store's, with what it has attested.
type claims struct {
	table    atomic.Pointer[claimTable]
	changing sync.Mutex // over table, by those who change it; never held across a wait
	attested atomic.Uint64
}

// ClaimOf returns what is claimed of a token's partition, for buckets with n replicas.
func (s *Store) ClaimOf(n int, token uint64) Claim {
	c, ok := s.claims.table.Load().find(n, token)
	if !ok {
		return Claim{N: n}
	}
	return c
}

// Claims lists all claims, by N and partition.
func (s *Store) Claims() []Claim { return s.claims.table.Load().list() }

// ClaimsAt is Claims for 2^bits partitions, whatever number of them the claims were made for.
func (s *Store) ClaimsAt(bits int) []Claim { return s.claims.table.Load().at(bits).list() }

func (t *claimTable) list() []Claim {
	if t == nil {
		return nil
	}
	var out []Claim
	for _, n := range slices.Sorted(maps.Keys(t.byN)) {
		for _, p := range slices.Sorted(maps.Keys(t.byN[n])) {
			out = append(out, t.byN[n][p])
		}
	}
	return out
}

// Claimed returns what a state that was read between two looks at the claims may be told with: the data is at least as new as
// the first, and what has been purged from it is known by the second.
func Claimed(before, after Claim, s causal.State) causal.State {
	if before.Rebuilding || after.Rebuilding {
		return s.Bare()
	}
	return s.Claims(causal.State{Floor: before.Floor, PurgeLevel: min(after.PurgeLevel, before.Floor)})
}

// SetClaims replaces claims, at 2^bits partitions; one that is zero but for its place goes. They are in the log behind all
// data that was merged before, and hold only when they are on disk: what they vouch for is there after a crash as well. Claims
// that were made for another number of partitions are rewritten for this one in the same batch. Calls must not overlap.
func (s *Store) SetClaims(ctx context.Context, bits int, changed []Claim) error {
	if bits < 0 || bits > LeafBits {
		return fmt.Errorf("storage: 2^%d partitions", bits)
	}
	if len(changed) == 0 {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	b := s.newBatch()
	old := s.claims.table.Load()
	next := old.at(bits)
	if err := stageRegrained(b, old, next); err != nil {
		return errors.Join(err, b.Close())
	}
	for _, c := range changed {
		if err := stageClaim(b, bits, c); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	if err := s.lock(ctx, metaStripe); err != nil {
		return errors.Join(err, b.Close())
	}
	c, err := s.apply(b, true, metaStripe)
	s.stripes.unlock(metaStripe)
	if err == nil {
		err = s.await(context.WithoutCancel(ctx), c)
	}
	if err != nil {
		return err
	}
	s.claims.changing.Lock()
	defer s.claims.changing.Unlock()
	s.claims.table.Store(next.with(bits, changed))
	return nil
}

const (
	claimFormat   = 1
	claimKeySize  = 1 + 1 + 1 + 4
	claimBodySize = 8 + 8 + 1
)

// claimKey is where a claim is kept: 'f', bits, N, partition.
func claimKey(bits int, c Claim) []byte {
	return binary.BigEndian.AppendUint32([]byte{claimPrefix, byte(bits), byte(c.N)}, uint32(c.Partition))
}

func stageClaim(b *batch, bits int, c Claim) error {
	if c.N < 1 || c.N > 255 || c.Partition < 0 || c.Partition >= 1<<bits {
		return fmt.Errorf("storage: a claim of partition %d of %d at N=%d", c.Partition, 1<<bits, c.N)
	}
	key := claimKey(bits, c)
	if c == (Claim{N: c.N, Partition: c.Partition}) {
		return b.Delete(key, nil)
	}
	value := openSeal(make([]byte, 0, sealSize+claimBodySize), claimFormat)
	value = binary.BigEndian.AppendUint64(value, uint64(c.Floor))
	value = binary.BigEndian.AppendUint64(value, uint64(c.PurgeLevel))
	rebuilding := byte(0)
	if c.Rebuilding {
		rebuilding = 1
	}
	value = append(value, rebuilding)
	closeSeal(value, key)
	return b.Set(key, value, nil)
}

func decodeClaim(key, value []byte) (bits int, c Claim, err error) {
	if len(key) != claimKeySize {
		return 0, c, fmt.Errorf("a key of %d bytes", len(key))
	}
	bits, c.N, c.Partition = int(key[1]), int(key[2]), int(binary.BigEndian.Uint32(key[3:]))
	body, err := checkSeal(key, value, claimFormat)
	switch {
	case err != nil:
		return 0, c, err
	case len(body) != claimBodySize || body[16] > 1 || bits > LeafBits || c.Partition >= 1<<bits:
		return 0, c, errors.New("not a claim")
	}
	c.Floor, c.PurgeLevel = causal.HLC(binary.BigEndian.Uint64(body)), causal.HLC(binary.BigEndian.Uint64(body[8:]))
	c.Rebuilding = body[16] == 1
	return bits, c, nil
}

// loadClaims fills the memory at Open. Where a claim can't be read the data vouches for nothing, for what it denies is not
// known.
func (s *Store) loadClaims() error {
	var bits int
	var found []Claim
	err := s.each([]byte{claimPrefix}, []byte{claimPrefix + 1}, func(key, value []byte) (bool, error) {
		b, c, err := decodeClaim(key, value)
		if err != nil {
			s.logger.Error("corrupt claim of a partition: it is rebuilt", "key", slices.Clone(key), "error", err)
			c.Floor, c.PurgeLevel, c.Rebuilding = 0, 0, true
			if b = int(key[1]); len(key) != claimKeySize || b > LeafBits || c.Partition >= 1<<b {
				return true, nil
			}
		}
		bits, found = b, append(found, c)
		return true, nil
	})
	if err != nil {
		return err
	}
	if len(found) > 0 {
		s.claims.table.Store((*claimTable)(nil).with(bits, found))
	}
	b, err := s.sealed(attestedMark)
	if err != nil || b == nil {
		return err
	}
	if len(b) != 8 {
		return s.fail(&CorruptError{Key: attestedMark, What: "attested HLC", Err: errShort})
	}
	s.claims.attested.Store(binary.BigEndian.Uint64(b))
	return nil
}

// Attested is the highest HLC that Attest was called with.
func (s *Store) Attested() causal.HLC { return causal.HLC(s.claims.attested.Load()) }

// Attest promises to refuse fresh writes with dots up to h, from now on and after a restart too. When it returns, what was
// let in before is merged, and the promise is on disk.
func (s *Store) Attest(ctx context.Context, h causal.HLC) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	for old := s.Attested(); h > old; old = s.Attested() {
		if s.claims.attested.CompareAndSwap(uint64(old), uint64(h)) {
			break
		}
	}
	for i := range stripeCount { // whoever looked before is done when its latch can be had
		if err := s.lock(ctx, i); err != nil {
			return err
		}
		s.stripes.unlock(i)
	}
	if err := s.lock(ctx, metaStripe); err != nil {
		return err
	}
	c, err := s.applyAttested()
	s.stripes.unlock(metaStripe)
	if err != nil {
		return err
	}
	return s.await(context.WithoutCancel(ctx), c)
}

// applyAttested runs under the latch, so that a lower promise never overwrites a higher one that is on its way.
func (s *Store) applyAttested() (*commit, error) {
	b, err := s.sealedBatch(attestedMark, binary.BigEndian.AppendUint64(nil, uint64(s.Attested())))
	if err != nil {
		return nil, err
	}
	return s.apply(b, true, metaStripe)
}

// refuses reports whether a write that is fresh here comes too late: not above limit.
func refuses(limit, fresh causal.HLC, incoming, have causal.State) bool {
	if fresh == 0 || fresh > limit {
		return false
	}
	for i := range incoming.Versions {
		if d := incoming.Versions[i].Dot; d.HLC == fresh && !have.Has(d) {
			return true
		}
	}
	return false
}
