package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"

	"google.golang.org/grpc"

	"github.com/starling-db/starling/coordinator"
	"github.com/starling-db/starling/node/state"
	pb "github.com/starling-db/starling/proto/starling/v1"
	"github.com/starling-db/starling/ring"
	"github.com/starling-db/starling/storage"
)

// Bounds of ranged reads.
const (
	defaultQueryLimit = 1000
	maxQueryLimit     = 10000
	// pageBytes bounds a replica's answer and a response; one item may exceed it alone.
	pageBytes     = 4 << 20
	scanPageItems = 500
	// maxTokenBytes holds the mark, a token and two keys, in which each byte may be escaped by two.
	maxTokenBytes = markSize + 8 + 2*(2*maxKeyBytes+2)
	// maxQueryRounds bounds the pages that one query reads when it finds few live items: then it returns those,
	// and a token to go on from.
	maxQueryRounds = 16
)

// Query returns items of one partition key in the order of their sort keys.
func (s *kvService) Query(ctx context.Context, req *pb.QueryRequest) (resp *pb.QueryResponse, err error) {
	ctx, done, err := s.n.begin(ctx, "query", req.GetOptions().GetR(), 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = done(err) }()
	return s.n.query(ctx, req)
}

func (n *Node) query(ctx context.Context, req *pb.QueryRequest) (*pb.QueryResponse, error) {
	b, err := n.bucket(req.GetBucket())
	if err != nil {
		return nil, err
	}
	item, err := itemKey(b, &pb.ItemKey{PartitionKey: req.GetPartitionKey()})
	if err != nil {
		return nil, err
	}
	limit, err := queryLimit(req)
	if err != nil {
		return nil, err
	}
	read, err := n.rangeRead(b, req.GetOptions())
	if err != nil {
		return nil, err
	}
	if len(req.GetFrom()) > maxKeyBytes || len(req.GetTo()) > maxKeyBytes {
		return nil, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "a bound has more bytes than a sort key: at most %d", maxKeyBytes)
	}
	read.Token, read.Reverse, read.Explain = tokenOf(item), req.GetReverse(), req.GetOptions().GetExplain()
	read.Start, read.End = storage.QueryBounds(uint64(read.Token), item.Partition, optional(req.From), optional(req.To))
	mark := queryMark(b.ID, req)
	if len(req.GetPageToken()) > 0 {
		last, err := openToken(mark, req.GetPageToken())
		if err != nil {
			return nil, err
		}
		resume(&read, last)
	}
	resp := &pb.QueryResponse{}
	for size, round := 0, 1; ; round++ {
		read.LimitItems = limit - len(resp.Items)
		page, err := n.coordinator.Range(ctx, read)
		if err != nil {
			return nil, err
		}
		items, err := n.items(b, page, false)
		if err != nil {
			return nil, err
		}
		resp.Items, resp.Explain = append(resp.Items, items...), n.explain(page.Trace)
		size += sizeOf(page.Items)
		if page.Done {
			return resp, nil
		}
		if len(resp.Items) >= limit || size >= pageBytes || round == maxQueryRounds {
			resp.NextPageToken = sealToken(mark, page.Last)
			return resp, nil
		}
		resume(&read, page.Last)
		read.Slack = min(max(2*read.Slack, read.LimitItems), maxQueryLimit) // mostly deleted or expired here
	}
}

func optional(b []byte) *[]byte {
	if b == nil {
		return nil
	}
	return &b
}

func queryLimit(req *pb.QueryRequest) (int, error) {
	switch limit := req.GetLimit(); {
	case limit == 0:
		return defaultQueryLimit, nil
	case limit > maxQueryLimit:
		return 0, invalid(pb.Reason_REASON_INVALID_ARGUMENT, "limit %d: at most %d", limit, maxQueryLimit)
	default:
		return int(limit), nil
	}
}

// rangeRead is what all pages of a ranged read have in common.
func (n *Node) rangeRead(b *state.Bucket, o *pb.ReadOptions) (coordinator.ReadRange, error) {
	r, err := required("R", o.GetR(), b.R, b.N)
	return coordinator.ReadRange{
		Bucket: b.ID, N: b.N, R: r, Policy: b.Policy, Strict: strict(o.GetMode()), Sync: b.Sync, LimitBytes: pageBytes,
	}, err
}

// resume moves a read behind the last key that was read.
func resume(read *coordinator.ReadRange, last []byte) {
	if read.Reverse {
		read.End = last
		return
	}
	read.Start = append(bytes.Clone(last), 0)
}

func sizeOf(items []coordinator.RangeItem) int {
	size := 0
	for _, item := range items {
		size += item.State.Size()
	}
	return size
}

// items turns a page into what clients see. Contexts cover only what is returned: none without values.
func (n *Node) items(b *state.Bucket, page coordinator.Page, keysOnly bool) ([]*pb.Item, error) {
	out := make([]*pb.Item, len(page.Items))
	for i, item := range page.Items {
		key, err := itemOf(b.ID, item.Key)
		if err != nil {
			return nil, err
		}
		out[i] = &pb.Item{
			Key:      &pb.ItemKey{PartitionKey: key.Partition, SortKey: key.Sort},
			Versions: versionsAt(item.State, page.AsOf),
		}
		if !keysOnly {
			out[i].Context = n.seal(key, item.State)
			continue
		}
		for _, v := range out[i].Versions {
			v.Value = nil
		}
	}
	return out, nil
}

// Scan streams a bucket, partition by partition.
func (s *kvService) Scan(req *pb.ScanRequest, stream grpc.ServerStreamingServer[pb.ScanResponse]) (err error) {
	_, done, err := s.n.begin(stream.Context(), "scan", req.GetOptions().GetR(), 0)
	if err != nil {
		return err
	}
	defer func() { err = done(err) }()
	ctx := stream.Context() // a scan may take long: each of its pages has a deadline, see partition
	n := s.n
	b, err := n.bucket(req.GetBucket())
	if err != nil {
		return err
	}
	read, err := n.rangeRead(b, req.GetOptions())
	if err != nil {
		return err
	}
	scan := &scan{n: n, bucket: b, read: read, keysOnly: req.GetKeysOnly(), left: req.GetLimit(), send: stream.Send}
	scan.mark = scanMark(b.ID)
	if len(req.GetResumeToken()) > 0 {
		last, err := openToken(scan.mark, req.GetResumeToken())
		if err != nil {
			return err
		}
		if len(last) < 8 {
			return invalid(pb.Reason_REASON_INVALID_PAGE_TOKEN, "the resume token holds no position")
		}
		scan.last = last
		scan.from = ring.Token(binary.BigEndian.Uint64(last))
	}
	for {
		if more, err := scan.partition(ctx); err != nil || !more {
			return err
		}
	}
}

// scan is one scan on its way round the ring. It goes from token to token: how many partitions the ring has, and whose they are,
// may change while it is on its way.
type scan struct {
	n        *Node
	bucket   *state.Bucket
	read     coordinator.ReadRange
	mark     []byte
	keysOnly bool
	left     uint64     // items that may still be sent; 0 with no limit, too
	from     ring.Token // where the next partition begins, or is gone on with
	last     []byte     // the last key that was read before; nil from the start
	send     func(*pb.ScanResponse) error
}

// partition sends what one partition of the ring holds from here on; more is false when the limit is reached, or the end.
func (s *scan) partition(ctx context.Context) (more bool, err error) {
	read := s.read
	read.Token = s.from
	read.Start, read.End = storage.PartitionBounds(uint64(s.from), math.MaxUint64)
	if s.last != nil {
		resume(&read, s.last)
		s.last = nil
	}
	for {
		read.LimitItems = scanPageItems
		if s.left > 0 {
			read.LimitItems = int(min(s.left, scanPageItems))
		}
		page, err := s.page(ctx, read)
		if err != nil {
			return false, err
		}
		items, err := s.n.items(s.bucket, page, s.keysOnly)
		if err != nil {
			return false, err
		}
		position := page.Last
		if page.Done {
			position = binary.BigEndian.AppendUint64(nil, uint64(page.Through))
			position = append(position, 0xff, 0xff) // behind every key of the last token
		}
		if len(items) == 0 { // all deleted or expired here: more at once, and the client hears how far it has come
			read.Slack = min(max(2*read.Slack, read.LimitItems), maxQueryLimit)
		}
		resp := &pb.ScanResponse{Items: items, ResumeToken: sealToken(s.mark, position), Progress: progress(position, page)}
		if err := s.send(resp); err != nil {
			return false, err
		}
		if s.left > 0 {
			if s.left -= uint64(len(items)); s.left == 0 {
				return false, nil
			}
		}
		if page.Done {
			s.from = page.Through + 1
			return page.Through < math.MaxUint64, nil
		}
		resume(&read, page.Last)
		read.Token = ring.Token(binary.BigEndian.Uint64(page.Last)) // in another partition, if it has been cut meanwhile
	}
}

func (s *scan) page(ctx context.Context, read coordinator.ReadRange) (coordinator.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, s.n.cfg.RequestTimeout)
	defer cancel()
	return s.n.coordinator.Range(ctx, read)
}

func progress(position []byte, page coordinator.Page) float64 {
	if page.Done {
		return (float64(page.Through) + 1) / (1 << 64)
	}
	return float64(binary.BigEndian.Uint64(position)) / (1 << 64)
}

// Tokens of pages hold a position and a mark of the query that they belong to, so that one that is damaged or
// used with another query is refused rather than skip items.

const markSize = 16

func queryMark(bucket uint64, req *pb.QueryRequest) []byte {
	h := sha256.New()
	part := func(b []byte, set bool) {
		var head [9]byte
		binary.BigEndian.PutUint64(head[:], uint64(len(b)))
		if set {
			head[8] = 1
		}
		h.Write(head[:])
		h.Write(b)
	}
	part(binary.BigEndian.AppendUint64([]byte("query"), bucket), true)
	part(req.GetPartitionKey(), true)
	part(req.From, req.From != nil)
	part(req.To, req.To != nil)
	part(nil, req.GetReverse())
	return h.Sum(nil)[:markSize]
}

func scanMark(bucket uint64) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("scan"), bucket))
	return sum[:markSize]
}

func sealToken(mark, position []byte) []byte {
	sum := sha256.Sum256(append(bytes.Clone(mark), position...))
	return append(sum[:markSize:markSize], position...)
}

func openToken(mark, token []byte) (position []byte, err error) {
	if len(token) > markSize && len(token) <= maxTokenBytes && bytes.Equal(token, sealToken(mark, token[markSize:])) {
		return token[markSize:], nil
	}
	return nil, invalid(pb.Reason_REASON_INVALID_PAGE_TOKEN, "the token is damaged, or of another query: start again without it")
}
