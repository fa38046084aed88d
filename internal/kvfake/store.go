package kvfake

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// dotSize is the size of a dot in a context, which here is just the list of the dots it covers.
const dotSize = 16

// beginning is when every store begins, in milliseconds since 1970.
const beginning = 1_700_000_000_000

// store holds all buckets.
type store struct {
	mu sync.Mutex
	// clock is the store's own time, in milliseconds since beginning: a write takes one.
	clock   uint64
	buckets map[string]*bucket
}

type bucket struct {
	settings *pb.Bucket
	items    map[string]*item
}

type item struct {
	key      *pb.ItemKey
	versions []*pb.Version
	// minted remembers the dot of every request id.
	minted map[string]*pb.Dot
}

func newStore() *store {
	s := &store{buckets: make(map[string]*bucket)}
	s.create(&pb.Bucket{Name: "default"})
	return s
}

func (s *store) create(b *pb.Bucket) (*pb.Bucket, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.buckets[b.GetName()]; old != nil {
		return old.settings, false
	}
	made := &pb.Bucket{
		Name: b.GetName(), Id: uint64(len(s.buckets) + 1), N: max(b.GetN(), 1), R: b.GetR(), W: b.GetW(),
		Conflict:   max(b.GetConflict(), pb.ConflictPolicy_CONFLICT_POLICY_SIBLINGS),
		Durability: max(b.GetDurability(), pb.Durability_DURABILITY_SYNC),
		TtlMs:      b.GetTtlMs(),
		CreatedHlc: beginning << 16, AlteredHlc: beginning << 16,
	}
	if b.GetN() == 0 {
		made.N = replicas
	}
	quorum := &pb.Consistency{Kind: &pb.Consistency_Level{Level: pb.Level_LEVEL_QUORUM}}
	if made.R == nil {
		made.R = quorum
	}
	if made.W == nil {
		made.W = quorum
	}
	s.buckets[b.GetName()] = &bucket{settings: made, items: make(map[string]*item)}
	return made, true
}

func (s *store) bucketID(name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[name]; b != nil {
		return b.settings.GetId()
	}
	return 0
}

func (s *store) list() []*pb.Bucket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*pb.Bucket
	for _, b := range s.buckets {
		out = append(out, b.settings)
	}
	slices.SortFunc(out, func(a, b *pb.Bucket) int { return bytes.Compare([]byte(a.GetName()), []byte(b.GetName())) })
	return out
}

func (s *store) drop(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.buckets[name]
	delete(s.buckets, name)
	return ok
}

// find returns a bucket; the lock is held.
func (s *store) find(name string) (*bucket, error) {
	b := s.buckets[name]
	if b == nil {
		return nil, Fault(codes.NotFound, pb.Reason_REASON_UNKNOWN_BUCKET, "no bucket "+name)
	}
	return b, nil
}

// put writes a value, or a tombstone.
func (s *store) put(r *pb.PutRequest, tombstone bool) (*pb.PutResponse, error) {
	key, context, requestID := r.GetKey(), r.GetContext(), r.GetRequestId()
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.find(r.GetBucket())
	if err != nil {
		return nil, err
	}
	it := b.items[itemName(key)]
	if it == nil {
		it = &item{key: key, minted: make(map[string]*pb.Dot)}
		b.items[itemName(key)] = it
	}
	if len(context)%dotSize != 0 {
		return nil, Fault(codes.InvalidArgument, pb.Reason_REASON_INVALID_CONTEXT, "the context is damaged")
	}
	if dot := it.minted[string(requestID)]; dot != nil && len(requestID) > 0 {
		return it.reply(dot, context, true), nil
	}
	if tombstone && len(context) == 0 {
		context = it.context()
	}
	s.clock++
	dot := &pb.Dot{Actor: 7, Hlc: (beginning + s.clock) << 16}
	it.minted[string(requestID)] = dot
	it.versions = slices.DeleteFunc(it.versions, func(v *pb.Version) bool {
		return covers(context, v.GetDot()) || b.settings.GetConflict() == pb.ConflictPolicy_CONFLICT_POLICY_LWW
	})
	v := &pb.Version{Dot: dot, Value: bytes.Clone(r.GetValue()), Tombstone: tombstone, RequestId: bytes.Clone(requestID)}
	if ttl := b.timeToLive(r.GetTtl()); ttl > 0 && !tombstone {
		v.ExpiresAtMs = s.now() + ttl
	}
	it.versions = append(it.versions, v)
	return it.reply(dot, context, false), nil
}

// now is the store's time in milliseconds since 1970; the lock is held.
func (s *store) now() int64 { return beginning + int64(s.clock) }

// advance moves the store's time on.
func (s *store) advance(ms int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock += uint64(ms)
}

// timeToLive is how many milliseconds a value of the bucket lives; 0: for ever.
func (b *bucket) timeToLive(t *pb.TimeToLive) int64 {
	if t.GetKind() == nil {
		return b.settings.GetTtlMs()
	}
	return t.GetMs()
}

// reply carries a context if the written version stands alone, as real nodes have it.
func (it *item) reply(dot *pb.Dot, context []byte, repeated bool) *pb.PutResponse {
	r := &pb.PutResponse{Dot: dot, Acknowledged: 2, Versions: uint32(len(it.versions)), Repeated: repeated}
	if len(it.versions) == 1 && proto.Equal(it.versions[0].GetDot(), dot) {
		r.Context = appendDot(bytes.Clone(context), dot)
	}
	for _, v := range it.versions {
		if proto.Equal(v.GetDot(), dot) {
			r.ExpiresAtMs = v.GetExpiresAtMs()
		}
	}
	return r
}

func (it *item) context() []byte {
	var out []byte
	for _, v := range it.versions {
		out = appendDot(out, v.GetDot())
	}
	return out
}

// live returns the versions to show: none when all are tombstones or have expired, and never one that has.
func (it *item) live(now int64) []*pb.Version {
	var out []*pb.Version
	found := false
	for _, v := range it.versions {
		if at := v.GetExpiresAtMs(); at != 0 && at <= now {
			continue
		}
		out = append(out, v)
		found = found || !v.GetTombstone()
	}
	if !found {
		return nil
	}
	return out
}

func (s *store) get(bucketName string, key *pb.ItemKey) (*pb.GetResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.find(bucketName)
	if err != nil {
		return nil, err
	}
	it := b.items[itemName(key)]
	if it == nil {
		return &pb.GetResponse{Answered: 2}, nil
	}
	return &pb.GetResponse{Versions: it.live(s.now()), Context: it.context(), Answered: 2}, nil
}

// ranged returns the live items that match, in the order of their keys.
func (s *store) ranged(bucketName string, match func(*pb.ItemKey) bool) ([]*pb.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.find(bucketName)
	if err != nil {
		return nil, err
	}
	var out []*pb.Item
	for _, it := range b.items {
		if versions := it.live(s.now()); len(versions) > 0 && match(it.key) {
			out = append(out, &pb.Item{Key: it.key, Versions: versions, Context: it.context()})
		}
	}
	slices.SortFunc(out, func(x, y *pb.Item) int {
		return bytes.Compare([]byte(itemName(x.GetKey())), []byte(itemName(y.GetKey())))
	})
	return out, nil
}

// itemName orders items by partition key, then sort key; tests have no keys with a zero byte.
func itemName(k *pb.ItemKey) string {
	return string(k.GetPartitionKey()) + "\x00" + string(k.GetSortKey())
}

func appendDot(dst []byte, d *pb.Dot) []byte {
	dst = binary.BigEndian.AppendUint64(dst, d.GetActor())
	return binary.BigEndian.AppendUint64(dst, d.GetHlc())
}

func covers(context []byte, d *pb.Dot) bool {
	want := appendDot(nil, d)
	for i := 0; i+dotSize <= len(context); i += dotSize {
		if bytes.Equal(context[i:i+dotSize], want) {
			return true
		}
	}
	return false
}
