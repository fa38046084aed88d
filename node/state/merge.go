package state

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Merge joins two documents. It is commutative, associative and idempotent; a *ConflictError when they
// differ in what is decided once: the cluster's name and id, its incarnation, the content of an epoch, or when
// the later of two epochs can't come of the earlier. It returns a itself when b brings nothing new.
func Merge(a, b *Document) (*Document, error) {
	if a == b || bytes.Equal(a.encoded, b.encoded) {
		return a, nil
	}
	if a.wire.GetName() != b.wire.GetName() {
		return nil, &ConflictError{"cluster name", fmt.Sprintf("%q", a.wire.GetName()), fmt.Sprintf("%q", b.wire.GetName())}
	}
	out := &Document{wire: &pb.ClusterDocument{Name: a.wire.GetName()}}
	if err := mergeIdentity(out.wire, a.wire, b.wire); err != nil {
		return nil, err
	}
	if err := mergeEpochs(out, a, b); err != nil {
		return nil, err
	}
	out.wire.History = mergeHistory(a.wire.GetHistory(), b.wire.GetHistory())
	out.wire.Buckets = mergeMaps(a.wire.GetBuckets(), b.wire.GetBuckets(), compareEntries)
	out.wire.Nodes = mergeMaps(a.wire.GetNodes(), b.wire.GetNodes(), compareNodes)
	if err := out.seal(); err != nil {
		return nil, err
	}
	if bytes.Equal(out.encoded, a.encoded) {
		return a, nil
	}
	return out, nil
}

// mergeIdentity takes the id and incarnation of the one that is founded; when both are they must agree.
func mergeIdentity(out, a, b *pb.ClusterDocument) error {
	switch {
	case len(a.GetClusterId()) == 0:
		a = b
	case len(b.GetClusterId()) == 0:
	case !bytes.Equal(a.GetClusterId(), b.GetClusterId()):
		return &ConflictError{"cluster id", hex.EncodeToString(a.GetClusterId()), hex.EncodeToString(b.GetClusterId())}
	case a.GetIncarnation() != b.GetIncarnation():
		return &ConflictError{"incarnation", fmt.Sprint(a.GetIncarnation()), fmt.Sprint(b.GetIncarnation())}
	}
	out.ClusterId, out.Incarnation = a.GetClusterId(), a.GetIncarnation()
	return nil
}

// mergeMaps keeps the greater value of each key.
func mergeMaps[V any](a, b map[string]V, compare func(x, y V) int) map[string]V {
	if len(b) == 0 {
		return a
	}
	out := maps.Clone(a)
	if out == nil {
		out = make(map[string]V, len(b))
	}
	for k, v := range b {
		if have, ok := out[k]; !ok || compare(v, have) > 0 {
			out[k] = v
		}
	}
	return out
}

// compareEntries orders the entries of one bucket name: a later generation wins, a drop wins within its
// generation, then the later alteration.
func compareEntries(x, y *pb.BucketEntry) int {
	return cmp.Or(
		cmp.Compare(x.GetGeneration(), y.GetGeneration()),
		compareBool(x.GetDropped(), y.GetDropped()),
		cmp.Compare(x.GetBucket().GetAlteredHlc(), y.GetBucket().GetAlteredHlc()),
		cmp.Compare(x.GetDroppedHlc(), y.GetDroppedHlc()),
		compareMessages(x, y),
	)
}

func compareNodes(x, y *pb.NodeAttributes) int {
	return cmp.Or(cmp.Compare(x.GetGeneration(), y.GetGeneration()), compareMessages(x, y))
}

// compareMessages breaks ties that only a restored disk can make. Any total order does; it must be the same
// on all nodes.
func compareMessages(x, y proto.Message) int {
	xb, xerr := deterministic(x)
	yb, yerr := deterministic(y)
	if xerr != nil || yerr != nil {
		return 0 // not possible: both were decoded or encoded before
	}
	return bytes.Compare(xb, yb)
}

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return 1
	}
	return -1
}
