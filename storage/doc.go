// Package storage keeps a node's items, hints and small documents in one Pebble database: one write-ahead
// log, so that concurrent commits share an fsync, and one batch for an item and all that follows from it.
//
// # What is where
//
// A data directory holds four things:
//
//	STARLING   who the node is: format, node id, cluster (a small text file, see identity.go)
//	LOCK       held while the directory is open
//	ballast    room that is let go when the disk is full (ballast.go)
//	db/        the Pebble database
//
// and the database these kinds of records, told apart by the first byte of the key:
//
//	'd' bucket token partition sort           items                 (key.go, record.go)
//	'h' target since bucket token ...         hints                 (hintkey.go)
//	'm' name                                  documents             (meta.go)
//	's' name                                  the store's own marks (meta.go)
//	't' bucket leaf                           leaves of trees       (tree.go)
//	'q' bucket number                         damaged bytes         (quarantine.go)
//	'x' bucket token partition sort           which items are damaged (damage.go)
//
// Integers in keys are big-endian and strings escaped so that bytes.Compare orders keys as their parts are
// ordered. Every value starts with a format byte and a CRC-32C over the key and the rest. Pebble has
// checksums of its own over log chunks and table blocks, but they are made when a block is written: they
// don't notice bytes that changed in a memtable, in the block cache or on the way through a compaction, nor
// a record that turns up under another key. Ours are made once, when the record is encoded.
//
// # Order of things
//
// Whoever changes an item holds the latch of its stripe (latch.go) while it reads, merges and applies, and
// releases it before the fsync. What is applied is visible at once, so every read waits for the commit that
// was last under way on its stripe: nothing is ever returned that a power cut could take back. The one
// exception is a write that asked not to be synced.
//
// # Failure
//
// The first write or fsync that fails, or the first corruption Pebble reports, makes the store Failed for
// good (freeze.go): it refuses everything after, and the files stay as they were at that moment.
//
// A single record that can't be decoded is set aside, and has no vote until it is mended (setaside.go, damage.go).
//
// A disk that fills is no failure: below a reserve of free space the store refuses what grows, before anything is
// written, serves reads, and goes on by itself when there is room (space.go, spacewatch.go).
package storage
