package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/history"
)

// seen is a context and what it was issued with.
type seen struct {
	context client.Context
	saw     []history.WriteID
}

// session is one client at work: one operation after the other. Only run uses it.
type session struct {
	profile
	index  int
	pool   *pool
	load   *load
	client *client.Client
	rng    *rand.Rand
	think  time.Duration

	values int
	writes int                  // of its register
	last   map[history.Key]seen // what its newest write to an item answered; at most keepLast
}

const (
	// callTimeout bounds one call of the client, in which it may try several nodes; tries bounds the calls for one
	// operation.
	callTimeout = 2 * time.Second
	tries       = 3
	keepLast    = 200
	// One write in unheard is sent again after it was acknowledged, as if the client had not heard of that.
	unheard = 20
)

// action is a thing that a session does.
type action struct {
	weight int
	do     func(s *session, ctx context.Context)
}

var actions = []action{
	{3, (*session).putBlind},
	{5, (*session).update},
	{1, (*session).updateTwice},
	{4, (*session).chain},
	{1, (*session).deleteRead},
	{1, (*session).deleteBlind},
	{4, (*session).look},
	{1, (*session).query},
}

func (s *session) run(ctx context.Context) {
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	for s.pause(ctx, s.think) {
		if s.register {
			s.turn(ctx)
			continue
		}
		at := s.rng.IntN(total)
		for _, a := range actions {
			if at -= a.weight; at < 0 {
				a.do(s, ctx)
				break
			}
		}
	}
}

// pause waits for about d, and returns false when the load is over.
func (s *session) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(time.Duration(s.rng.ExpFloat64() * float64(d)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// turn is what the only writer of an item does: it goes on from what it wrote, or reads when it can't know. After a
// while it turns to another item.
func (s *session) turn(ctx context.Context) {
	key := history.Key{Bucket: s.bucket, Partition: fmt.Sprintf("register-%d.%d", s.index, s.writes/overwrites)}
	s.pool.regs.Store(s.index, key)
	from, ok := s.last[key]
	if !ok || s.rng.IntN(4) == 0 {
		if from, ok = s.get(ctx, key); !ok {
			return
		}
	}
	s.writes++
	s.put(ctx, key, from)
}

func (s *session) putBlind(ctx context.Context) { s.put(ctx, s.pool.item(s.rng, 1), seen{}) }

func (s *session) update(ctx context.Context) {
	key := s.pool.item(s.rng, 1)
	if from, ok := s.get(ctx, key); ok {
		s.put(ctx, key, from)
	}
}

// updateTwice uses one context for two writes.
func (s *session) updateTwice(ctx context.Context) {
	key := s.pool.item(s.rng, 2)
	if from, ok := s.get(ctx, key); ok {
		s.put(ctx, key, from)
		s.put(ctx, key, from)
	}
}

// chain goes on from the answer of the session's own last write, if there was one.
func (s *session) chain(ctx context.Context) {
	key := s.pool.item(s.rng, 1)
	from, ok := s.last[key]
	if !ok {
		from, _ = s.get(ctx, key)
	}
	s.put(ctx, key, from)
}

// deleteRead deletes what it has read, and may make the item anew.
func (s *session) deleteRead(ctx context.Context) {
	key := s.pool.item(s.rng, 1)
	from, ok := s.get(ctx, key)
	if !ok || from.context.IsZero() {
		return
	}
	s.delete(ctx, key, from)
	if from, ok := s.last[key]; ok && s.rng.IntN(2) == 0 {
		s.put(ctx, key, from)
	}
}

func (s *session) deleteBlind(ctx context.Context) { s.delete(ctx, s.pool.item(s.rng, 1), seen{}) }

// look reads an item, or a register, which others only read.
func (s *session) look(ctx context.Context) {
	key := s.pool.item(s.rng, 0)
	if s.rng.IntN(2) == 0 {
		if register, ok := s.pool.register(s.rng); ok {
			key = register
		}
	}
	s.get(ctx, key)
}

func (s *session) newOp(kind history.Kind, key history.Key) *history.Op {
	op := &history.Op{Session: s.index, Kind: kind, Key: key, Strict: s.strict, Quorum: s.w}
	if kind == history.Read {
		op.Quorum = s.r
	}
	return op
}

func (s *session) put(ctx context.Context, key history.Key, from seen) {
	s.values++
	op := s.newOp(history.Put, key)
	op.Value = fmt.Sprintf("v%d.%d", s.index, s.values)
	op.Blind = from.context.IsZero()
	s.write(ctx, op, from)
}

func (s *session) delete(ctx context.Context, key history.Key, from seen) {
	op := s.newOp(history.Delete, key)
	op.CoversAll = from.context.IsZero()
	s.write(ctx, op, from)
}

// write makes a new write and sees it through.
func (s *session) write(ctx context.Context, op *history.Op, from seen) {
	id, err := s.client.NewRequestID()
	if err != nil {
		return // nothing was sent
	}
	op.Write, op.Saw = history.IDOf(id), from.saw
	s.send(ctx, op, id, from.context)
}

// send tries a write until its outcome is known or the tries are used up.
func (s *session) send(ctx context.Context, op *history.Op, id client.RequestID, from client.Context) {
	options := append(s.options(), client.WithRequestID(id))
	if !from.IsZero() {
		options = append(options, client.WithContext(from))
	}
	key := client.NewKey(op.Key.Partition, op.Key.Sort)
	delete(s.last, op.Key)
	s.load.recorder.Begin(op)
	var w *client.Written
	once := func(ctx context.Context) (err error) {
		if op.Kind == history.Put {
			w, err = s.client.Put(ctx, op.Key.Bucket, key, []byte(op.Value), options...)
		} else {
			w, err = s.client.Delete(ctx, op.Key.Bucket, key, options...)
		}
		return err
	}
	s.try(ctx, op, once)
	if op.Outcome == history.Done && s.rng.IntN(unheard) == 0 {
		first := w
		s.pause(ctx, 50*time.Millisecond)
		// Another coordinator may have minted it anew: then the higher of the two stays.
		if err := once(context.WithoutCancel(ctx)); err != nil || w.Dot.Compare(first.Dot) < 0 {
			w = first
		}
	}
	if op.Outcome == history.Done {
		op.Dot, op.Acks, op.Fallbacks, op.Repeated = w.Dot, w.Acknowledged, w.Fallbacks, w.Repeated
		if !w.Context.IsZero() {
			s.remember(op.Key, seen{w.Context, []history.WriteID{op.Write}})
		}
	}
	s.end(op)
}

func (s *session) remember(key history.Key, what seen) {
	if len(s.last) >= keepLast {
		clear(s.last)
	}
	s.last[key] = what
}

func (s *session) options() []client.CallOption {
	o := []client.CallOption{client.R(client.Replicas(s.r)), client.W(client.Replicas(s.w)), client.Timeout(callTimeout)}
	if s.strict {
		o = append(o, client.Strict())
	}
	return o
}

// try does one operation until it succeeds or the tries are used up, and notes what is known of its outcome then. An
// operation that has begun is brought to its end also when the load is over.
func (s *session) try(ctx context.Context, op *history.Op, do func(ctx context.Context) error) {
	ctx = context.WithoutCancel(ctx)
	op.Outcome = history.Refused
	for {
		op.Tries++
		err := do(ctx)
		if err == nil {
			op.Outcome, op.Error = history.Done, ""
			return
		}
		op.Error = err.Error()
		if !undone(err) {
			op.Outcome = history.Unknown
		}
		if op.Tries == tries {
			return
		}
		s.pause(ctx, 100*time.Millisecond)
	}
}

func (s *session) end(op *history.Op) {
	s.load.recorder.End(op)
	s.load.note(op)
}

// get reads an item. It returns a context, if the read showed anything, and whether the read was answered.
func (s *session) get(ctx context.Context, key history.Key) (out seen, ok bool) {
	op := s.newOp(history.Read, key)
	s.load.recorder.Begin(op)
	var got *client.Result
	s.try(ctx, op, func(ctx context.Context) (err error) {
		got, err = s.client.Get(ctx, key.Bucket, client.NewKey(key.Partition, key.Sort), s.options()...)
		return err
	})
	if ok = op.Outcome == history.Done; ok {
		op.Versions = versionsOf(got.Versions)
		if len(op.Versions) > 0 {
			out.context = got.Context
			for _, v := range op.Versions {
				out.saw = append(out.saw, v.Write)
			}
		}
	}
	s.end(op)
	return out, ok
}

func versionsOf(list []client.Version) (out []history.Version) {
	for _, v := range list {
		out = append(out, history.Version{
			Write: history.IDOf(v.RequestID), Dot: v.Dot, Value: string(v.Value), Tombstone: v.Tombstone,
		})
	}
	return out
}

// query reads all items of a group at once. It is recorded as a read of each.
func (s *session) query(ctx context.Context) {
	partition := s.pool.group(s.rng, 0)
	ops := make([]*history.Op, groupItems)
	for i := range ops {
		ops[i] = s.newOp(history.Read, history.Key{Bucket: s.bucket, Partition: partition, Sort: sortKey(i)})
		s.load.recorder.Begin(ops[i])
	}
	var found map[string][]history.Version
	s.try(ctx, ops[0], func(ctx context.Context) error {
		found = make(map[string][]history.Version)
		for item, err := range client.Items(s.client.Query(ctx, s.bucket, []byte(partition), client.Range{}, s.options()...)) {
			if err != nil {
				return err
			}
			found[string(item.Key.Sort)] = versionsOf(item.Versions)
		}
		return nil
	})
	for _, op := range ops {
		op.Outcome, op.Error, op.Tries = ops[0].Outcome, ops[0].Error, ops[0].Tries
		if op.Outcome == history.Done {
			op.Versions = found[op.Key.Sort]
		}
		s.end(op)
	}
}
