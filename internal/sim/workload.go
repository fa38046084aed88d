package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/history"
	pb "github.com/starling-db/starling/proto/starling/v1"
)

// log collects the history of a run. Its size is bounded by the plan: sessions work one operation at a time.
type log struct {
	start time.Time
	trace *trace
	in    *injector

	mu   sync.Mutex
	next int
	ops  []history.Op
}

// begin numbers an operation and notes when it starts.
func (l *log) begin(op *history.Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	op.Index = l.next
	l.next++
	op.Start = time.Since(l.start)
}

// end keeps an operation that is over.
func (l *log) end(op *history.Op) {
	now := time.Now()
	op.End = now.Sub(l.start)
	op.Faulted = l.in.faulted(l.start.Add(op.Start), now)
	l.mu.Lock()
	l.ops = append(l.ops, *op)
	l.mu.Unlock()
	l.trace.add(clients, "%s", describe(op))
}

// describe is an operation in one line of a trace.
func describe(op *history.Op) string {
	mode := "sloppy"
	if op.Strict {
		mode = "strict"
	}
	text := fmt.Sprintf("op %d, session %d: %s %v %s %d, from %.6f, %s", op.Index, op.Session, op.Kind, op.Key, mode, op.Quorum,
		op.Start.Seconds(), op.Outcome)
	if op.Kind != history.Read {
		text += fmt.Sprintf(" %.12s %q saw %.12q dot %v acks %d", op.Write, op.Value, op.Saw, op.Dot, op.Acks)
	}
	for _, v := range op.Versions {
		text += fmt.Sprintf(" [%.12s %q %v]", v.Write, v.Value, v.Dot)
	}
	if op.Error != "" {
		text += ": " + op.Error
	}
	return text
}

// seen is a context and what it was issued with.
type seen struct {
	token []byte
	saw   []history.WriteID
}

// session is one client at work.
type session struct {
	Session
	index  int
	bucket Bucket
	// turnover and spread are the plan's.
	turnover time.Duration
	spread   int
	c        *cluster
	log      *log
	rng      *rand.Rand
	ids      *seededReader
	library  *client.Client // nil: it chooses its nodes itself
	values   int
	last     map[history.Key]seen // of the session's own newest write to an item
	old      []oldWrite           // to be repeated
}

// oldWrite is a write that may be sent again as it was.
type oldWrite struct {
	op      history.Op
	id      causal.RequestID
	context []byte
	at      time.Time
}

// keptWrites bounds what a session may repeat.
const keptWrites = 20

func (s *session) run(ctx context.Context) {
	total := 0
	for _, w := range s.Weights {
		total += w
	}
	for sleep(ctx, time.Duration(s.rng.ExpFloat64()*float64(s.Think))) == nil {
		if s.Register {
			s.register()
			continue
		}
		at := s.rng.IntN(total)
		for a, w := range s.Weights {
			if at -= w; at < 0 {
				s.act(action(a), s.pickKey())
				break
			}
		}
	}
}

// pickKey draws one of the items that the bucket's sessions share. Few partition keys have many items, for queries.
func (s *session) pickKey() history.Key {
	if s.rng.IntN(6) == 0 {
		return s.registerKey() // anybody reads and nobody else writes it
	}
	n := s.rng.IntN(s.bucket.Items)
	return history.Key{Bucket: s.Bucket, Partition: fmt.Sprintf("p%d", n%s.spread), Sort: fmt.Sprintf("%d-%d", time.Since(s.log.start)/s.turnover, n/s.spread)}
}

// freshKey is that of an item that nobody else writes.
func (s *session) freshKey() history.Key {
	return history.Key{Bucket: s.Bucket, Partition: fmt.Sprintf("fresh%d", s.values%8), Sort: fmt.Sprintf("%d-%d", s.index, s.values)}
}

func (s *session) registerKey() history.Key {
	return history.Key{Bucket: s.Bucket, Partition: "register-" + s.Bucket}
}

// register is a turn of the only writer of an item: it goes on from what it wrote, or reads when it can't know.
func (s *session) register() {
	key := s.registerKey()
	from, ok := s.last[key]
	if !ok || s.rng.IntN(5) == 0 {
		if from, ok = s.get(key); !ok {
			return
		}
	}
	s.put(key, from)
}

func (s *session) act(a action, key history.Key) {
	if a != query && key == s.registerKey() {
		a = read
	}
	switch a {
	case freshPut:
		s.put(s.freshKey(), seen{})
	case burst:
		key := s.freshKey()
		for range 2 + s.rng.IntN(3) {
			s.put(key, s.last[key])
		}
	case blindPut:
		s.put(key, seen{})
	case update, updateTwice:
		from, ok := s.get(key)
		if !ok {
			return
		}
		s.put(key, from)
		if a == updateTwice {
			s.put(key, from)
		}
	case chain:
		from, ok := s.last[key]
		if !ok {
			from, _ = s.get(key)
		}
		s.put(key, from)
	case deleteRead:
		if from, ok := s.get(key); ok && len(from.token) > 0 {
			s.delete(key, from)
			if from, ok := s.last[key]; ok && s.rng.IntN(2) == 0 {
				s.put(key, from) // made anew
			}
		}
	case deleteBlind:
		s.delete(key, seen{})
	case read:
		s.get(key)
	case query:
		s.query(fmt.Sprintf("p%d", s.rng.IntN(s.spread)))
	case repeat:
		s.repeat()
	}
}

func (s *session) newOp(kind history.Kind, key history.Key) *history.Op {
	op := &history.Op{Session: s.index, Kind: kind, Key: key, Strict: s.Strict, Quorum: s.W, Memory: s.bucket.Memory}
	if kind == history.Read {
		op.Quorum, op.Memory = s.R, false
	}
	return op
}

func (s *session) put(key history.Key, from seen) {
	s.values++
	op := s.newOp(history.Put, key)
	op.Value = fmt.Sprintf("v%d-%d", s.index, s.values)
	s.write(op, from)
}

func (s *session) delete(key history.Key, from seen) {
	op := s.newOp(history.Delete, key)
	op.CoversAll = len(from.token) == 0
	s.write(op, from)
}

// write makes a new write and sees it through.
func (s *session) write(op *history.Op, from seen) {
	id, err := causal.NewRequestID(time.Now().UnixMilli(), s.ids)
	if err != nil {
		panic(err) // of a reader that can't fail
	}
	op.Write, op.Saw, op.Blind = history.IDOf(id), from.saw, len(from.token) == 0 && !op.CoversAll
	s.send(op, id, from.token)
	if len(s.old) < keptWrites {
		s.old = append(s.old, oldWrite{*op, id, from.token, time.Now()})
	}
}

// repeat sends an old write again, as it was: as if the client had never heard of its outcome.
func (s *session) repeat() {
	if len(s.old) == 0 {
		return
	}
	i := s.rng.IntN(len(s.old))
	w := s.old[i]
	s.old = slices.Delete(s.old, i, i+1)
	op := w.op
	op.Repeated, op.Dot, op.Acks, op.Fallbacks, op.Error, op.Tries = false, causal.Dot{}, 0, 0, "", 0
	s.send(&op, w.id, w.context)
}

// send tries a write until its outcome is known or the tries are used up.
func (s *session) send(op *history.Op, id causal.RequestID, token []byte) {
	s.log.begin(op)
	delete(s.last, op.Key)
	w, err := s.try(op, func(ctx context.Context) (*pb.PutResponse, error) { return s.sendOnce(ctx, op, id, token) })
	if err == nil {
		op.Dot = dotOf(w.GetDot())
		op.Acks, op.Fallbacks, op.Repeated = int(w.GetAcknowledged()), int(w.GetFallbacks()), w.GetRepeated()
		op.AckedBy = ackedBy(w.GetExplain())
		if len(w.GetContext()) > 0 {
			s.last[op.Key] = seen{w.GetContext(), []history.WriteID{op.Write}}
		}
	}
	s.log.end(op)
}

// ackedBy are the nodes that acknowledged, if the answer tells.
func ackedBy(e *pb.Explain) (out []history.Ack) {
	for _, t := range e.GetReplicas() {
		if t.GetAction() == "write" && t.GetOutcome() == "ok" {
			out = append(out, history.Ack{Node: t.GetNode(), Fallback: t.GetFallback()})
		}
	}
	return out
}

func dotOf(d *pb.Dot) causal.Dot {
	return causal.Dot{Actor: causal.Actor(d.GetActor()), HLC: causal.HLC(d.GetHlc())}
}

func (s *session) sendOnce(ctx context.Context, op *history.Op, id causal.RequestID, token []byte) (*pb.PutResponse, error) {
	if s.library != nil {
		return s.sendByLibrary(ctx, op, id, token)
	}
	kv := s.c.kv(s.rng.IntN(len(s.c.members)))
	o := &pb.WriteOptions{W: replicas(op.Quorum), Mode: mode(op.Strict), Explain: s.rng.IntN(3) == 0}
	key := keyOf(op.Key)
	if op.Kind == history.Put {
		return kv.Put(ctx, &pb.PutRequest{Bucket: s.Bucket, Key: key, Value: []byte(op.Value), Context: token, RequestId: id[:], Options: o})
	}
	d, err := kv.Delete(ctx, &pb.DeleteRequest{Bucket: s.Bucket, Key: key, Context: token, RequestId: id[:], Options: o})
	return &pb.PutResponse{
		Dot: d.GetDot(), Context: d.GetContext(), Acknowledged: d.GetAcknowledged(), Fallbacks: d.GetFallbacks(), Repeated: d.GetRepeated(),
		Explain: d.GetExplain(),
	}, err
}

func keyOf(k history.Key) *pb.ItemKey {
	return &pb.ItemKey{PartitionKey: []byte(k.Partition), SortKey: []byte(k.Sort)}
}

func replicas(n int) *pb.Consistency {
	return &pb.Consistency{Kind: &pb.Consistency_Replicas{Replicas: uint32(n)}}
}

func mode(strict bool) pb.QuorumMode {
	if strict {
		return pb.QuorumMode_QUORUM_MODE_STRICT
	}
	return pb.QuorumMode_QUORUM_MODE_SLOPPY
}

// try does one operation until it succeeds or the tries are used up, and notes what is known of its outcome then.
func (s *session) try(op *history.Op, do func(ctx context.Context) (*pb.PutResponse, error)) (*pb.PutResponse, error) {
	unknown := false
	for {
		op.Tries++
		ctx, cancel := context.WithTimeout(context.Background(), s.Timeout)
		resp, err := do(ctx)
		cancel()
		if err == nil {
			op.Outcome, op.Error = history.Done, ""
			return resp, nil
		}
		op.Error = err.Error()
		unknown = unknown || !undone(err)
		if op.Tries >= s.Tries || s.library != nil {
			op.Outcome = history.Refused
			if unknown {
				op.Outcome = history.Unknown
			}
			return nil, err
		}
		time.Sleep(time.Duration(1+s.rng.IntN(200)) * time.Millisecond)
	}
}

// undone says whether an error promises that nothing was written, and nothing will be.
func undone(err error) bool {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return !errors.Is(e, client.ErrOutcomeUnknown)
	}
	for _, d := range status.Convert(err).Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != "starling" {
			continue
		}
		switch info.GetReason() {
		case "OUTCOME_UNKNOWN", "INTERNAL", "":
			return false
		default:
			return true
		}
	}
	return false
}

// get reads an item, and returns a context if it showed anything.
func (s *session) get(key history.Key) (seen, bool) {
	op := s.newOp(history.Read, key)
	s.log.begin(op)
	var got *pb.GetResponse
	_, err := s.try(op, func(ctx context.Context) (*pb.PutResponse, error) {
		var err error
		if s.library != nil {
			got, err = s.getByLibrary(ctx, key)
			return nil, err
		}
		got, err = s.c.kv(s.rng.IntN(len(s.c.members))).Get(ctx, &pb.GetRequest{
			Bucket: s.Bucket, Key: keyOf(key), Options: &pb.ReadOptions{R: replicas(s.R), Mode: mode(s.Strict)},
		})
		return nil, err
	})
	var out seen
	if err == nil {
		op.Versions = versionsOf(got.GetVersions())
		if len(op.Versions) > 0 {
			out.token = got.GetContext()
			for _, v := range op.Versions {
				out.saw = append(out.saw, v.Write)
			}
		}
	}
	s.log.end(op)
	return out, err == nil
}

func versionsOf(list []*pb.Version) (out []history.Version) {
	for _, v := range list {
		out = append(out, history.Version{
			Write: history.IDOf(causal.RequestID(v.GetRequestId())), Dot: dotOf(v.GetDot()), Value: string(v.GetValue()), Tombstone: v.GetTombstone(),
		})
	}
	return out
}

// query reads all items of a partition key. What it returned is noted item by item; what it should have returned is
// not judged, so these reads count as sloppy.
func (s *session) query(partition string) {
	op := s.newOp(history.Read, history.Key{Bucket: s.Bucket, Partition: partition})
	op.Strict = false
	s.log.begin(op)
	var got *pb.QueryResponse
	_, err := s.try(op, func(ctx context.Context) (*pb.PutResponse, error) {
		var err error
		got, err = s.c.kv(s.rng.IntN(len(s.c.members))).Query(ctx, &pb.QueryRequest{
			Bucket: s.Bucket, PartitionKey: []byte(partition), Options: &pb.ReadOptions{R: replicas(s.R), Mode: mode(s.Strict)},
		})
		return nil, err
	})
	if err != nil || len(got.GetItems()) == 0 {
		s.log.end(op)
		return
	}
	for i, item := range got.GetItems() {
		one := *op
		if i > 0 {
			s.log.begin(&one)
			one.Start = op.Start
		}
		one.Key.Sort = string(item.GetKey().GetSortKey())
		one.Versions = versionsOf(item.GetVersions())
		s.log.end(&one)
	}
}

func (s *session) sendByLibrary(ctx context.Context, op *history.Op, id causal.RequestID, token []byte) (*pb.PutResponse, error) {
	o := []client.CallOption{client.W(client.Replicas(op.Quorum)), client.WithRequestID(id)}
	if op.Strict {
		o = append(o, client.Strict())
	}
	if len(token) > 0 {
		o = append(o, client.WithContext(client.ContextFromBytes(token)))
	}
	var w *client.Written
	var err error
	if op.Kind == history.Put {
		w, err = s.library.Put(ctx, s.Bucket, client.NewKey(op.Key.Partition, op.Key.Sort), []byte(op.Value), o...)
	} else {
		w, err = s.library.Delete(ctx, s.Bucket, client.NewKey(op.Key.Partition, op.Key.Sort), o...)
	}
	if err != nil {
		return nil, err
	}
	return &pb.PutResponse{
		Dot: &pb.Dot{Actor: uint64(w.Dot.Actor), Hlc: uint64(w.Dot.HLC)}, Context: w.Context.Bytes(),
		Acknowledged: uint32(w.Acknowledged), Fallbacks: uint32(w.Fallbacks), Repeated: w.Repeated,
	}, nil
}

func (s *session) getByLibrary(ctx context.Context, key history.Key) (*pb.GetResponse, error) {
	o := []client.CallOption{client.R(client.Replicas(s.R))}
	if s.Strict {
		o = append(o, client.Strict())
	}
	got, err := s.library.Get(ctx, s.Bucket, client.NewKey(key.Partition, key.Sort), o...)
	if err != nil {
		return nil, err
	}
	resp := &pb.GetResponse{Context: got.Context.Bytes()}
	for _, v := range got.Versions {
		id := v.RequestID
		resp.Versions = append(resp.Versions, &pb.Version{
			Dot: &pb.Dot{Actor: uint64(v.Dot.Actor), Hlc: uint64(v.Dot.HLC)}, Value: v.Value, Tombstone: v.Tombstone, RequestId: id[:],
		})
	}
	return resp, nil
}

// open makes the session's client, if it goes through the library.
func (s *session) open() error {
	if !s.Library {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var addrs []string
	for _, m := range s.c.members {
		addrs = append(addrs, m.cfg.ClientAddr)
	}
	cl, err := client.Open(ctx, addrs, client.RandomFrom(s.ids), client.DialWith(s.c.dialClient))
	s.library = cl
	return err
}

func (s *session) close() {
	if s.library != nil {
		_ = s.library.Close() // it always succeeds
	}
}
