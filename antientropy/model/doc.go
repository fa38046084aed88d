// Package model is an executable model of floors, rounds, the watermark and purging: the rules of one
// partition, small enough to run some hundred thousand random steps a second against an oracle.
//
// It has three owners and two fallbacks, which are the guardians of the partition, and three items, and
// it is built on the product's own causal package: versions, contexts, merges and floors are the real
// ones. Modelled are puts and deletes with and without contexts, retries, sloppy writes and strict ones
// with hints, read repair, exchanges of a pair that go item by item and break off, rounds in all their
// parts, purging, rebuilding, and gossip as far as it matters: everybody's bounds of clocks, the
// watermark and the purge level. Messages come late, twice or never; processes crash and lose what they
// have not synced; disks are wiped or put back to an older image, noticed or not; clocks jump far beyond
// any bound, and none of the proof rests on them. Request ids, retry windows and margins are as in the
// product, but measured in a few ticks.
//
// The oracle knows for each write the full set of writes that its writer had seen, and no dots, vectors or
// merges. After every step each acknowledged write, or one that knew it, is somewhere; no read that an
// owner vouches for returns what a purged tombstone or past had replaced. After healing, the owners are
// identical, have every acknowledged write or a successor, and nothing that was replaced is back; two
// rounds then purge all tombstones and pasts, and messages that come only after that change nothing.
//
// Each rule is a switch in [Rules]. The tests take one away at a time, and most then lose or revive data;
// for those that are not missed the tests say why.
//
// An owner may also lose an item without noticing, one at a time, and goes on vouching: then the others' copies must bring it
// back, and not its denial take theirs away. Beside what is lost and what comes back the floors themselves are held against what
// they say, so that a round that proves nothing is caught before two of them do harm.
//
// A disk put back within one lease of its clock's bound goes unnoticed; that loses no data of which there is another copy, but a
// quorum may then miss a write, which is not held against it.
//
// Not modelled: last-write-wins, expiry, Merkle trees (an exchange looks at every item), moves of a
// partition and their epochs, the refusal of readings too far in the future (clocks poison each other
// freely here), bounded queues. A loss that takes the last copy of an acknowledged write does not
// happen, nor one that leaves no owner that vouches for anything.
//
// To run more:
//
//	go test ./antientropy/model -run TestSafe -seeds 100000 -steps 300
//	go test ./antientropy/model -run TestWeakened -rule HintsBlockAttest -seeds 100000
//
// A failure prints its seed and the steps that it needs.
package model
