package storage

import "github.com/starling-db/starling/causal"

// at is the table for 2^bits partitions: a claim of a partition that was cut holds for each of its parts, and where parts are one
// partition again it claims what all of them do.
func (t *claimTable) at(bits int) *claimTable {
	if t == nil || t.bits == bits {
		return t
	}
	next := &claimTable{bits: bits, byN: make(map[int]map[int]Claim)}
	for n, parts := range t.byN {
		next.byN[n] = make(map[int]Claim)
		if bits > t.bits {
			for p, c := range parts {
				for i := range 1 << (bits - t.bits) {
					c.Partition = p<<(bits-t.bits) + i
					next.byN[n][c.Partition] = c
				}
			}
			continue
		}
		for p := range parts {
			whole := p >> (t.bits - bits)
			if _, done := next.byN[n][whole]; done {
				continue
			}
			if c := t.joined(n, whole, t.bits-bits); c != (Claim{N: n, Partition: whole}) {
				next.byN[n][whole] = c
			}
		}
	}
	return next
}

// joined is what can be claimed of the 2^cut parts of a partition together. Its floor is the lowest of theirs, for all up to it
// is in each of them; its purge level is the highest, for up to it something may be gone from one of them. If that is above
// the floor the parts that lie below it must be filled up first.
func (t *claimTable) joined(n, whole, cut int) Claim {
	out := Claim{N: n, Partition: whole, Floor: ^causal.HLC(0)}
	for i := range 1 << cut {
		part := t.byN[n][whole<<cut+i]
		out.Floor, out.PurgeLevel = min(out.Floor, part.Floor), max(out.PurgeLevel, part.PurgeLevel)
		out.Rebuilding = out.Rebuilding || part.Rebuilding
	}
	if out.Rebuilding || out.PurgeLevel > out.Floor {
		out.Floor, out.Rebuilding = 0, true
	}
	return out
}

// stageRegrained puts into a batch what takes claims from one number of partitions to another.
func stageRegrained(b *batch, old, next *claimTable) error {
	if old == next {
		return nil
	}
	for _, c := range old.list() {
		if err := b.Delete(claimKey(old.bits, c), nil); err != nil {
			return err
		}
	}
	for _, c := range next.list() {
		if err := stageClaim(b, next.bits, c); err != nil {
			return err
		}
	}
	return nil
}
