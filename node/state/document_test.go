package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
)

// universe draws documents of one cluster, as different nodes at different times may hold them.
type universe struct {
	r      *rand.Rand
	id     []byte
	epochs map[uint64][]byte
}

func newUniverse(t testing.TB, seed uint64) *universe {
	u := &universe{r: rand.New(rand.NewPCG(seed, 1)), id: bytes.Repeat([]byte{byte(seed%250) + 1}, clusterIDLen), epochs: make(map[uint64][]byte)}
	e := ring.Genesis(testLayout(t, 3, 0))
	for n := range uint64(3) {
		u.epochs[n] = ring.AppendEpoch(nil, e)
		var err error
		if e.Joint() {
			e, err = e.Commit()
		} else {
			e, err = e.Begin(testLayout(t, 4, n+1))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return u
}

// testLayout is one of so many members.
func testLayout(t testing.TB, nodes int, version uint64) *ring.Layout {
	t.Helper()
	var members []ring.Member
	for i := range nodes {
		members = append(members, ring.Member{ID: nodeID(i), Weight: 1})
	}
	l, err := ring.Plan(ring.PlanInput{Members: members, Partitions: 4, Replicas: 3, Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (u *universe) draw(t testing.TB) *Document {
	t.Helper()
	d := &pb.ClusterDocument{Name: "test", Nodes: make(map[string]*pb.NodeAttributes)}
	for i := range 3 {
		if u.r.IntN(2) == 0 {
			a := NodeAttributes{ID: nodeID(i), Name: fmt.Sprint("n", i), Generation: u.r.Uint64N(3), PeerAddr: fmt.Sprint(u.r.IntN(3))}
			d.Nodes[hex.EncodeToString(a.ID[:])] = a.Proto()
		}
	}
	if u.r.IntN(5) > 0 {
		d.ClusterId, d.Incarnation = u.id, 0
		d.Epochs, d.Buckets = make(map[uint64][]byte), make(map[string]*pb.BucketEntry)
		for n := range 1 + u.r.Uint64N(3) {
			d.Epochs[n] = u.epochs[n]
			if n > 0 && u.r.IntN(2) == 0 {
				d.History = mergeHistory(d.History, map[uint64]*pb.EpochChange{n: u.change(n)})
			}
		}
		for _, name := range []string{"default", "a", "b"} {
			if u.r.IntN(3) > 0 {
				d.Buckets[name] = u.entry(name)
			}
		}
	}
	doc, err := newDocument(d)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// change is how epoch n came about, installed by one node or another.
func (u *universe) change(n uint64) *pb.EpochChange {
	return &pb.EpochChange{Kind: pb.EpochChange_KIND_BEGUN, ToVersion: n, AtHlc: 1 + u.r.Uint64N(3)}
}

func (u *universe) entry(name string) *pb.BucketEntry {
	b, err := normalize(&pb.Bucket{Name: name, N: 1 + u.r.Uint32N(3), Durability: pb.Durability(1 + u.r.IntN(2))}, 3)
	if err != nil {
		panic(err)
	}
	e := &pb.BucketEntry{Bucket: b, Generation: 1 + u.r.Uint64N(2)}
	b.Id = BucketID(name, e.Generation)
	b.CreatedHlc = 1 + u.r.Uint64N(2)
	b.AlteredHlc = b.CreatedHlc + u.r.Uint64N(2)
	if u.r.IntN(3) == 0 {
		e.Dropped, e.DroppedHlc = true, 1+u.r.Uint64N(3)
	}
	return e
}

func mustMerge(t testing.TB, a, b *Document) *Document {
	t.Helper()
	m, err := Merge(a, b)
	if err != nil {
		t.Fatalf("merge: %v", err)
	}
	return m
}

func TestMergeIsAJoin(t *testing.T) {
	for seed := range uint64(40) {
		u := newUniverse(t, seed)
		for range 20 {
			a, b, c := u.draw(t), u.draw(t), u.draw(t)
			ab := mustMerge(t, a, b)
			if ba := mustMerge(t, b, a); !bytes.Equal(ab.Bytes(), ba.Bytes()) || ab.Fingerprint() != ba.Fingerprint() {
				t.Fatalf("seed %d: not commutative", seed)
			}
			left, right := mustMerge(t, ab, c), mustMerge(t, a, mustMerge(t, b, c))
			if !bytes.Equal(left.Bytes(), right.Bytes()) {
				t.Fatalf("seed %d: not associative", seed)
			}
			if mustMerge(t, a, a) != a || mustMerge(t, ab, a) != ab || mustMerge(t, ab, b) != ab {
				t.Fatalf("seed %d: not idempotent", seed)
			}
			again, err := DecodeDocument(ab.Bytes())
			if err != nil || !bytes.Equal(again.Bytes(), ab.Bytes()) {
				t.Fatalf("seed %d: a merged document does not decode to itself: %v", seed, err)
			}
			if ab.newest != nil && again.newest.Number != ab.newest.Number {
				t.Fatalf("seed %d: the newest epoch is %d, was %d", seed, again.newest.Number, ab.newest.Number)
			}
		}
	}
}

func TestWhatIsDecidedIsNeverOverwritten(t *testing.T) {
	u := newUniverse(t, 1)
	base := &pb.ClusterDocument{Name: "test", ClusterId: u.id, Epochs: map[uint64][]byte{0: u.epochs[0]}}
	other := ring.Genesis(testLayout(t, 5, 0))
	for field, spoil := range map[string]func(*pb.ClusterDocument){
		"cluster name": func(d *pb.ClusterDocument) { d.Name = "another" },
		"cluster id":   func(d *pb.ClusterDocument) { d.ClusterId = bytes.Repeat([]byte{9}, clusterIDLen) },
		"incarnation":  func(d *pb.ClusterDocument) { d.Incarnation = 4 },
		"epoch 0": func(d *pb.ClusterDocument) {
			d.Epochs = map[uint64][]byte{0: ring.AppendEpoch(nil, other)}
		},
	} {
		changed := proto.CloneOf(base)
		spoil(changed)
		a, err := newDocument(base)
		if err != nil {
			t.Fatal(err)
		}
		b, err := newDocument(changed)
		if err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		for _, pair := range [][2]*Document{{a, b}, {b, a}} {
			_, err := Merge(pair[0], pair[1])
			var conflict *ConflictError
			if !errors.As(err, &conflict) || conflict.Field != field || !errors.Is(err, ErrConflict) {
				t.Errorf("another %s: %v", field, err)
			}
		}
	}
}

func TestADropBeatsAnAlterationAndALaterGenerationBoth(t *testing.T) {
	b := func(altered uint64) *pb.Bucket { return &pb.Bucket{AlteredHlc: altered} }
	order := []*pb.BucketEntry{
		{Generation: 1, Bucket: b(5)},
		{Generation: 1, Bucket: b(9)},
		{Generation: 1, Bucket: b(5), Dropped: true, DroppedHlc: 6},
		{Generation: 2, Bucket: b(3)},
	}
	for i, x := range order {
		for j, y := range order {
			if got, want := compareEntries(x, y) > 0, i > j; got != want {
				t.Errorf("entry %d wins over entry %d: %v", i, j, got)
			}
		}
	}
}

func TestMalformedDocumentsAreRefused(t *testing.T) {
	u := newUniverse(t, 1)
	valid := func() *pb.ClusterDocument {
		h := nodeID(0)
		e := u.entry("b")
		return &pb.ClusterDocument{
			Name: "test", ClusterId: bytes.Clone(u.id), Epochs: maps.Clone(u.epochs),
			Nodes:   map[string]*pb.NodeAttributes{hex.EncodeToString(h[:]): {Id: h[:], Name: "n"}},
			Buckets: map[string]*pb.BucketEntry{"b": e},
		}
	}
	if _, err := newDocument(valid()); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*pb.ClusterDocument){
		"no name":                     func(d *pb.ClusterDocument) { d.Name = "" },
		"a long name":                 func(d *pb.ClusterDocument) { d.Name = strings.Repeat("x", 256) },
		"a short id":                  func(d *pb.ClusterDocument) { d.ClusterId = d.ClusterId[:15] },
		"an id of zeroes":             func(d *pb.ClusterDocument) { d.ClusterId = make([]byte, 16) },
		"epochs without an id":        func(d *pb.ClusterDocument) { d.ClusterId = nil },
		"an id without epochs":        func(d *pb.ClusterDocument) { d.Epochs = nil },
		"a torn epoch":                func(d *pb.ClusterDocument) { d.Epochs[0] = d.Epochs[0][:9] },
		"an epoch of another number":  func(d *pb.ClusterDocument) { d.Epochs[7] = d.Epochs[0] },
		"a node under another's key":  func(d *pb.ClusterDocument) { d.Nodes[strings.Repeat("ab", 16)] = firstOf(d.Nodes) },
		"a node without an id":        func(d *pb.ClusterDocument) { d.Nodes[""] = &pb.NodeAttributes{} },
		"a node with a long name":     func(d *pb.ClusterDocument) { firstOf(d.Nodes).Name = strings.Repeat("x", 256) },
		"an entry without a bucket":   func(d *pb.ClusterDocument) { d.Buckets["b"].Bucket = nil },
		"a bucket under another name": func(d *pb.ClusterDocument) { d.Buckets["c"] = d.Buckets["b"] },
		"n of 8":                      func(d *pb.ClusterDocument) { d.Buckets["b"].Bucket.N = 8 },
		"another id":                  func(d *pb.ClusterDocument) { d.Buckets["b"].Bucket.Id++ },
		"generation 0":                func(d *pb.ClusterDocument) { d.Buckets["b"].Generation = 0 },
		"a claim":                     func(d *pb.ClusterDocument) { d.Buckets["b"].Bucket.AlteredHlc = 0 },
		"a history of the future":     func(d *pb.ClusterDocument) { d.History = map[uint64]*pb.EpochChange{3: u.change(3)} },
		"a history of nothing":        func(d *pb.ClusterDocument) { d.History = map[uint64]*pb.EpochChange{1: {}} },
		"a history of the founding":   func(d *pb.ClusterDocument) { d.History = map[uint64]*pb.EpochChange{0: u.change(1)} },
		"a drop without its time":     func(d *pb.ClusterDocument) { d.Buckets["b"].Dropped, d.Buckets["b"].DroppedHlc = true, 0 },
	} {
		d := valid()
		spoil(d)
		if _, err := newDocument(d); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := DecodeDocument(make([]byte, MaxDocumentBytes+1)); !errors.Is(err, ErrDocument) {
		t.Errorf("a huge document: %v", err)
	}
}

func firstOf[V any](m map[string]V) (v V) {
	for _, v = range m {
		return v
	}
	return v
}

func FuzzDecodeDocument(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(newUniverse(f, seed).draw(f).Bytes())
	}
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDocument(b)
		if err != nil {
			if !errors.Is(err, ErrDocument) {
				t.Fatalf("an untyped error: %v", err)
			}
			return
		}
		again, err := DecodeDocument(d.Bytes())
		if err != nil || again.Fingerprint() != d.Fingerprint() {
			t.Fatalf("does not decode to itself: %v", err)
		}
		newSnapshot(d)
		if m, err := Merge(d, again); err != nil || m != d {
			t.Fatalf("merging with itself: %v", err)
		}
	})
}

func FuzzPropose(f *testing.F) {
	c := newCluster(f, 2, func(o *Options) { o.Expect = 2 })
	d, err := c.node(0).newCluster([]Candidate{{NodeAttributes: c.attributes(nodeID(0))}, {NodeAttributes: c.attributes(nodeID(1))}})
	if err != nil {
		f.Fatal(err)
	}
	for s := range int32(4) {
		f.Add(s, bytes.Repeat([]byte{1}, 16), d.Bytes())
	}
	own, err := emptyDocument("test")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, step int32, id, doc []byte) {
		from := nodeID(0)
		v := voter{self: nodeID(1), cluster: "test", expect: 2, doc: own}
		r, err := v.rule(from, &pb.Propose{Step: pb.Propose_Step(step), ProposalId: id, FounderId: from[:], Document: doc})
		if err == nil && r.vote != nil && !(r.granted && len(id) == proposalIDLen) {
			t.Fatal("a vote without a grant, or for a malformed proposal")
		}
		if r.adopt != nil {
			t.Fatal("adopted what it has not voted for")
		}
	})
}
