// Package history is what clients did to a cluster and what became of it: the one language that simulated and real
// runs are told in, and that the checkers below internal/check read. A history is append-only and says nothing of how
// the cluster works inside.
package history

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/starling-db/starling/causal"
)

// Kind is what an operation does.
type Kind string

// The kinds of operations. A query is recorded as one Read for each item that it covered, those not there included.
const (
	Put    Kind = "put"
	Delete Kind = "delete"
	Read   Kind = "read"
)

// Outcome is what a client knows of its operation when it gives up, all tries taken together.
type Outcome string

// The outcomes. A read that got no answer is Refused or Unknown; either way it says nothing.
const (
	Done    Outcome = "done"
	Refused Outcome = "refused" // nothing was written, and nothing will be
	Unknown Outcome = "unknown" // it may have taken effect, or may yet
)

// Key names an item.
type Key struct {
	Bucket    string `json:"bucket"`
	Partition string `json:"partition"`
	Sort      string `json:"sort,omitempty"`
}

func (k Key) String() string { return fmt.Sprintf("%s/%s/%s", k.Bucket, k.Partition, k.Sort) }

// WriteID is the identity of a write over all its tries: its request id, in hexadecimal. Tests use any names.
type WriteID string

// IDOf names the write of a request id.
func IDOf(id causal.RequestID) WriteID { return WriteID(hex.EncodeToString(id[:])) }

// Version is one version of an item as a client or a checker sees it.
type Version struct {
	Write     WriteID    `json:"write"`
	Dot       causal.Dot `json:"dot"`
	Value     string     `json:"value,omitempty"`
	Tombstone bool       `json:"tombstone,omitempty"`
}

// Op is one operation of a client. Times are since the start of the run; the operation had no effect before Start, and
// was over for its client at End.
type Op struct {
	Index   int           `json:"index"`
	Session int           `json:"session"` // operations of one session come one after the other
	Kind    Kind          `json:"kind"`
	Key     Key           `json:"key"`
	Start   time.Duration `json:"start"`
	End     time.Duration `json:"end"`
	Outcome Outcome       `json:"outcome"`
	Error   string        `json:"error,omitempty"` // the last one
	Tries   int           `json:"tries"`
	// Quorum is R of a read and W of a write, as replicas.
	Quorum int  `json:"quorum"`
	Strict bool `json:"strict,omitempty"`

	// Of writes.
	Write  WriteID `json:"write,omitzero"`
	Value  string  `json:"value,omitempty"`  // unique in the run; empty for a delete
	Memory bool    `json:"memory,omitempty"` // acknowledged before it is on disk: may be lost in a crash
	// Saw are the versions that the context which the write carried had been issued with: those of a read, or the one
	// write whose answer carried it. Blind says that it carried none.
	Saw   []WriteID `json:"saw,omitempty"`
	Blind bool      `json:"blind,omitempty"`
	// CoversAll marks a delete without a context: the server reads, and covers what it found.
	CoversAll bool `json:"coversAll,omitempty"`
	// Of writes that are Done.
	Dot       causal.Dot `json:"dot,omitzero"` // zero: answered as repeated, and replaced since
	Acks      int        `json:"acks,omitempty"`
	Fallbacks int        `json:"fallbacks,omitempty"`
	Repeated  bool       `json:"repeated,omitempty"`
	// AckedBy are the nodes that had acknowledged, if the answer was asked to tell.
	AckedBy []Ack `json:"ackedBy,omitempty"`

	// Of reads that are Done: what was there. Tombstones show beside a value only: a read of an item of which nothing but
	// tombstones is left shows nothing, as if it had never been written. No context of such a read is ever used.
	Versions []Version `json:"versions,omitempty"`
	// Faulted says that a fault was in force while the operation ran.
	Faulted bool `json:"faulted,omitempty"`
}

// Ack is the acknowledgement of one node.
type Ack struct {
	Node string `json:"node"`
	// Fallback: it owns nothing of the item and stands in for an owner.
	Fallback bool `json:"fallback,omitempty"`
}

// Policy is how a bucket resolves writes that did not know of each other.
type Policy string

// The policies.
const (
	Siblings Policy = "siblings"
	LWW      Policy = "lww"
)

// Bucket is what checkers need to know of a bucket.
type Bucket struct {
	Policy Policy `json:"policy"`
	N      int    `json:"n"`
}

// Copy is what one node holds of an item when all is over, read from its disk.
type Copy struct {
	Node  string `json:"node"`
	Owner bool   `json:"owner"`
	// State is the item's encoded state, causal past included; empty: it has no record.
	State    []byte    `json:"state,omitempty"`
	Versions []Version `json:"versions,omitempty"`
}

// Final is an item at the end: all faults over, all hints delivered.
type Final struct {
	Key Key `json:"key"`
	// Read is what a read from all owners returned; as in Op, tombstones show beside a value only.
	Read   []Version `json:"read,omitempty"`
	Copies []Copy    `json:"copies,omitempty"` // nil where the disks can't be looked at
}

// Run is a whole run.
type Run struct {
	Buckets map[string]Bucket `json:"buckets"`
	Ops     []Op              `json:"ops"` // in the order of End
	Finals  []Final           `json:"finals"`
	// PurgedBefore is up to which dots some node had purged tombstones and pasts at the end.
	PurgedBefore causal.HLC `json:"purgedBefore,omitempty"`
	// DisksLost is how many nodes lost what they had synced: wiped disks, old images. Writes acknowledged by no more
	// nodes than that may be lost, and quorums may miss what they should show.
	DisksLost int `json:"disksLost,omitempty"`
	// Crashes is how many crashes lost what was not synced; with none, Memory makes no difference.
	Crashes int `json:"crashes,omitempty"`
	// Gone are the nodes that never came back. Hints for them stay.
	Gone []string `json:"gone,omitempty"`

	// HintsLeft is how many hints each node holds at the end; nil: nobody looked.
	HintsLeft map[string]int `json:"hintsLeft,omitempty"`
	// HealedAfter is how long it took, once all nodes were back, until no hint was left.
	HealedAfter time.Duration `json:"healedAfter,omitempty"`
	// Samples are what nodes used, in the order of At. The first of a node is of when it was idle and ready, the last of
	// when all was over and it was idle again.
	Samples []Sample `json:"samples,omitempty"`
	// Caps are what nodes may use; zero: no bound.
	Caps Caps `json:"caps,omitzero"`
	// Layouts are what nodes say at the end of who owns what.
	Layouts []LayoutView `json:"layouts,omitempty"`
}

// Sample is what a node used at one time; figures that could not be had are zero. Where the nodes of a cluster share a
// process, Goroutines and HeapBytes are those of all of it, in samples of a node without a name.
type Sample struct {
	At         time.Duration `json:"at"`
	Node       string        `json:"node,omitempty"`
	Goroutines int           `json:"goroutines,omitempty"`
	HeapBytes  int64         `json:"heapBytes,omitempty"`
	InFlight   int           `json:"inFlight,omitempty"`  // client requests that run
	PeerCalls  int           `json:"peerCalls,omitempty"` // requests to other nodes that wait for their reply
	Repairs    int           `json:"repairs,omitempty"`   // repairs that wait or run
	HintBytes  int64         `json:"hintBytes,omitempty"` // kept for other nodes
}

// Caps bound the figures of a sample.
type Caps struct {
	Goroutines int   `json:"goroutines,omitempty"`
	HeapBytes  int64 `json:"heapBytes,omitempty"`
	InFlight   int   `json:"inFlight,omitempty"`
	PeerCalls  int   `json:"peerCalls,omitempty"`
	Repairs    int   `json:"repairs,omitempty"`
	HintBytes  int64 `json:"hintBytes,omitempty"`
}

// LayoutView is the layout as one node has it.
type LayoutView struct {
	Node  string `json:"node"`
	Epoch uint64 `json:"epoch"`
	// Digest is of the whole layout in its binary form.
	Digest string `json:"digest"`
	// Nodes are all that the layout names, Owners the first ones of each partition's preference list.
	Nodes  []string   `json:"nodes"`
	Owners [][]string `json:"owners"`
	// N is how many owners a partition has, if there are as many nodes.
	N int `json:"n"`
}

// Violation is a promise that was broken.
type Violation struct {
	Checker string `json:"checker"`
	Key     Key    `json:"key,omitzero"`
	Op      int    `json:"op"` // index of the operation that shows it; -1: none
	Message string `json:"message"`
}

func (v Violation) String() string {
	where := ""
	if v.Key != (Key{}) {
		where = " " + v.Key.String()
	}
	if v.Op >= 0 {
		where += fmt.Sprintf(" (operation %d)", v.Op)
	}
	return v.Checker + ":" + where + ": " + v.Message
}
