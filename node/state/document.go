package state

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"github.com/spaolacci/murmur3"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

const (
	// MaxDocumentBytes bounds an encoded document. memberlist carries at most 20 MiB.
	MaxDocumentBytes = 16 << 20

	// maxEpochs bounds the epochs of a document that comes in. All but the newest are dropped.
	maxEpochs = 64

	maxNodes     = 4096
	maxName      = 255 // bytes of a cluster's, node's or zone's name, or an address
	clusterIDLen = 16
)

// Document is a valid, immutable cluster document.
type Document struct {
	wire   *pb.ClusterDocument // never modified; entries are shared between documents
	newest *ring.Epoch         // the one epoch of wire; nil before the founding
	// encoded is wire's deterministic form, print its hash.
	encoded []byte
	print   uint64
}

// emptyDocument is what a node starts with: its cluster's name.
func emptyDocument(cluster string) (*Document, error) {
	return newDocument(&pb.ClusterDocument{Name: cluster})
}

// DecodeDocument decodes and checks a document; errors are *DocumentError. Fields that this version does not
// know are dropped: members that know them merge them in again.
func DecodeDocument(b []byte) (*Document, error) {
	if len(b) > MaxDocumentBytes {
		return nil, &DocumentError{What: fmt.Sprintf("%d bytes, at most %d are allowed", len(b), MaxDocumentBytes)}
	}
	wire := new(pb.ClusterDocument)
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, wire); err != nil {
		return nil, &DocumentError{What: "not a protobuf message of its type", Err: err}
	}
	return newDocument(wire)
}

// newDocument checks wire and takes it over.
func newDocument(wire *pb.ClusterDocument) (*Document, error) {
	d := &Document{wire: wire}
	if n := len(wire.GetEpochs()); n > maxEpochs {
		return nil, &DocumentError{What: fmt.Sprintf("%d epochs, at most %d are allowed", n, maxEpochs)}
	}
	for n, b := range wire.GetEpochs() {
		e, err := ring.DecodeEpoch(b)
		if err != nil {
			return nil, &DocumentError{What: fmt.Sprintf("epoch %d", n), Err: err}
		}
		if e.Number != n {
			return nil, &DocumentError{What: fmt.Sprintf("epoch %d calls itself %d", n, e.Number)}
		}
		if d.newest == nil || e.Number > d.newest.Number {
			d.newest = e
		}
	}
	if d.newest != nil {
		d.keepNewest()
	}
	if err := checkDocument(wire); err != nil {
		return nil, err
	}
	return d, d.seal()
}

// seal derives what a document with wire and newest set carries besides.
func (d *Document) seal() error {
	var err error
	if d.encoded, err = deterministic(d.wire); err != nil {
		return &DocumentError{What: "can't be encoded", Err: err}
	}
	if len(d.encoded) > MaxDocumentBytes {
		return &DocumentError{What: fmt.Sprintf("has grown to %d bytes, at most %d are allowed", len(d.encoded), MaxDocumentBytes)}
	}
	d.print = murmur3.Sum64(d.encoded)
	return nil
}

// deterministic encodes m so that equal messages give equal bytes. Other versions of the protobuf library may
// give others: fingerprints then differ without need, which costs an exchange and harms nothing.
func deterministic(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// Bytes is the document's encoded form. The caller must not modify it.
func (d *Document) Bytes() []byte { return d.encoded }

// Fingerprint is equal for equal documents.
func (d *Document) Fingerprint() uint64 { return d.print }

// Founded reports whether the document is of a founded cluster.
func (d *Document) Founded() bool { return len(d.wire.GetClusterId()) > 0 }

// Names reports whether the newest epoch counts id among its members, present or coming.
func (d *Document) Names(id ring.NodeID) bool {
	return d.newest != nil && (isMember(d.newest.Base, id) || isMember(d.newest.Next, id))
}

func isMember(l *ring.Layout, id ring.NodeID) bool {
	if l == nil {
		return false
	}
	_, ok := l.Member(id)
	return ok
}

// checkDocument checks everything but the content of epochs.
func checkDocument(d *pb.ClusterDocument) error {
	malformed := func(format string, args ...any) error {
		return &DocumentError{What: fmt.Sprintf(format, args...)}
	}
	if n := len(d.GetName()); n == 0 || n > maxName {
		return malformed("the cluster's name has %d bytes, must have 1 to %d", n, maxName)
	}
	switch len(d.GetClusterId()) {
	case 0:
		if len(d.GetEpochs()) > 0 || len(d.GetBuckets()) > 0 || d.GetIncarnation() > 0 || len(d.GetHistory()) > 0 {
			return malformed("has epochs, buckets, a history or an incarnation but no cluster id")
		}
	case clusterIDLen:
		if len(d.GetEpochs()) == 0 || bytes.Equal(d.GetClusterId(), make([]byte, clusterIDLen)) {
			return malformed("has no epochs, or a cluster id of zeroes")
		}
	default:
		return malformed("cluster id of %d bytes, must have %d", len(d.GetClusterId()), clusterIDLen)
	}
	if err := checkHistory(d); err != nil {
		return err
	}
	if len(d.GetNodes()) > maxNodes {
		return malformed("%d nodes, at most %d are allowed", len(d.GetNodes()), maxNodes)
	}
	for key, n := range d.GetNodes() {
		if err := checkNode(key, n); err != nil {
			return err
		}
	}
	for name, e := range d.GetBuckets() {
		if err := checkEntry(name, e); err != nil {
			return err
		}
		// An entry without this time is a candidate in a vote and never part of a document.
		if e.GetBucket().GetAlteredHlc() < e.GetBucket().GetCreatedHlc() {
			return malformed("bucket %q was altered before it was created", name)
		}
	}
	return nil
}

func checkNode(key string, n *pb.NodeAttributes) error {
	id := n.GetId()
	if len(id) != len(ring.NodeID{}) || hex.EncodeToString(id) != key || (ring.NodeID)(id).IsZero() {
		return &DocumentError{What: fmt.Sprintf("node %q has the id %x", key, id)}
	}
	for _, s := range []string{n.GetName(), n.GetZone(), n.GetClientAddr(), n.GetPeerAddr(), n.GetGossipAddr(), n.GetHttpAddr(), n.GetVersion()} {
		if len(s) > maxName {
			return &DocumentError{What: fmt.Sprintf("node %s has an attribute of %d bytes, at most %d are allowed", key, len(s), maxName)}
		}
	}
	return nil
}

// checkEntry checks a bucket's entry but for the time it was last altered.
func checkEntry(name string, e *pb.BucketEntry) error {
	b := e.GetBucket()
	malformed := func(why string) error { return &DocumentError{What: fmt.Sprintf("bucket %q: %s", name, why)} }
	if b.GetName() != name {
		return malformed("its entry has another name")
	}
	if err := checkSettings(b); err != nil {
		return &DocumentError{What: "a bucket's settings", Err: err}
	}
	if g := e.GetGeneration(); g == 0 || g > maxGeneration || b.GetId() != BucketID(name, g) {
		return malformed("its generation or id is not possible")
	}
	if b.GetCreatedHlc() == 0 || e.GetDropped() != (e.GetDroppedHlc() > 0) {
		return malformed("its times are not possible")
	}
	return nil
}
