package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/starling-db/starling/causal"
	"github.com/starling-db/starling/storage"
)

// TestScenarios plays the stories of testdata, each on a stage of its own, and compares what is seen; -rewrite writes
// it anew. There is one item, cart. Its owners are n1 to nN, the nodes behind them its fallbacks. Versions are called
// by the order in which they were minted, and where: v2@n1. Commands:
//
//	cluster nodes=5 n=3               starts the nodes, with empty disks
//	put VALUE w=2 [strict] [via=n1] [context=$a] [id=r1]
//	                                  writes and shows every message; id names the request over its retries
//	get r=2 [strict] [via=n1] [as=$a] reads; as keeps the context of what was returned
//	down n2 / up n2                   refuses connections, and all know; up restarts it if its process is dead
//	crash n1 [after=2-acks]           kills the process, the disk keeps what was synced: now, or in the moment in which
//	                                  its coordinator hears so many acknowledgements, its own included
//	cut n1->n3 / mend n1->n3          loses, silently, what is sent that way, answers included; n1-n3 is both ways
//	hold n3 / deliver n3              messages to it wait on their way
//	wait 4s                           lets time pass
//	handoff                           each node in turn hands on its hints
//	epoch n2 7 [elsewhere]            teaches it an epoch at which the item's owners changed, or those of others did
//	show                              each node's copy and hints
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		synctest.Test(t, func(t *testing.T) {
			s := &scenario{contexts: map[string]causal.Past{}, ids: map[string]causal.RequestID{}, rand: rand.NewChaCha8([32]byte{1})}
			datadriven.RunTest(t, path, s.run)
		})
	})
}

type scenario struct {
	*stage
	contexts map[string]causal.Past
	ids      map[string]causal.RequestID
	rand     *rand.ChaCha8
	moved    uint64 // the last epoch at which the item's owners changed
}

// land is how long messages need that nothing holds up.
const land = 20 * time.Millisecond

func (s *scenario) run(t *testing.T, d *datadriven.TestData) string {
	if d.Cmd == "cluster" {
		var nodes, n int
		d.ScanArgs(t, "nodes", &nodes)
		d.ScanArgs(t, "n", &n)
		s.stage = newStage(t, nodes, n)
		return ""
	}
	command, ok := map[string]func(*testing.T, *datadriven.TestData) string{
		"put": s.put, "get": s.get, "show": s.show, "handoff": s.handoff, "wait": s.wait,
		"down": s.setDown, "up": s.setUp, "crash": s.crash, "epoch": s.learn,
		"cut": s.setCut, "mend": s.setCut, "hold": s.hold, "deliver": s.deliver,
	}[d.Cmd]
	if !ok {
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	out := command(t, d)
	time.Sleep(land)
	synctest.Wait()
	return out
}

// word is a command's argument by its place.
func word(t *testing.T, d *datadriven.TestData, i int) string {
	if i >= len(d.CmdArgs) {
		d.Fatalf(t, "%s: too few arguments", d.Cmd)
	}
	return d.CmdArgs[i].Key
}

func (s *scenario) named(t *testing.T, d *datadriven.TestData, name string) *stageNode {
	i := slices.IndexFunc(s.nodes, func(n *stageNode) bool { return n.name == name })
	if i < 0 {
		d.Fatalf(t, "no node %s", name)
	}
	return s.nodes[i]
}

// via is the process that is to coordinate.
func (s *scenario) via(t *testing.T, d *datadriven.TestData) *process {
	name := "n1"
	d.MaybeScanArgs(t, "via", &name)
	p := s.named(t, d, name).process()
	if p == nil {
		d.Fatalf(t, "%s is dead", name)
	}
	return p
}

func (s *scenario) put(t *testing.T, d *datadriven.TestData) string {
	p := s.via(t, d)
	var context, id string
	req := PutRequest{Item: s.item, N: s.n, Strict: d.HasArg("strict"), Sync: true, Explain: true}
	d.ScanArgs(t, "w", &req.W)
	d.MaybeScanArgs(t, "context", &context)
	d.MaybeScanArgs(t, "id", &id)
	past, ok := s.contexts[context]
	if context != "" && !ok {
		d.Fatalf(t, "no get has returned %s", context)
	}
	req.Write = causal.Write{Value: []byte(word(t, d, 0)), Context: past, RequestID: s.requestID(t, id)}
	ctx, cancel := s.patience()
	defer cancel()
	res, err := p.coord.Put(ctx, req)
	if p.died() {
		return fmt.Sprintf("no answer: %s died\n", p.node.name)
	}
	var b strings.Builder
	switch {
	case err != nil:
		b.WriteString(fault(err))
	case !res.Repeated:
		fmt.Fprintf(&b, "done: %s", s.nameOf(res.Version.Dot))
	case res.Version.Dot == causal.Dot{}:
		b.WriteString("done: written before, and replaced since")
	default:
		fmt.Fprintf(&b, "done: written before, as %s", s.nameOf(res.Version.Dot))
	}
	return s.tell(&b, res.Trace, res.Fallbacks)
}

func (s *scenario) get(t *testing.T, d *datadriven.TestData) string {
	p := s.via(t, d)
	req := GetRequest{Item: s.item, N: s.n, Strict: d.HasArg("strict"), Sync: true, Explain: true}
	d.ScanArgs(t, "r", &req.R)
	ctx, cancel := s.patience()
	defer cancel()
	res, err := p.coord.Get(ctx, req)
	var b strings.Builder
	if err != nil {
		b.WriteString(fault(err))
		return s.tell(&b, res.Trace, res.Fallbacks)
	}
	var as string
	if d.MaybeScanArgs(t, "as", &as); as != "" {
		s.contexts[as] = res.State.Context()
	}
	b.WriteString(s.versionsOf(res.State))
	return s.tell(&b, res.Trace, res.Fallbacks)
}

// patience is the time that a client gives a request.
func (s *scenario) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.t.Context(), time.Second)
}

// requestID is the id of the name, drawn when it is first used.
func (s *scenario) requestID(t *testing.T, name string) causal.RequestID {
	id, ok := s.ids[name]
	if !ok || name == "" {
		var err error
		if id, err = causal.NewRequestID(time.Now().UnixMilli(), s.rand); err != nil {
			t.Fatal(err)
		}
		s.ids[name] = id
	}
	return id
}

func fault(err error) string {
	q, ok := errors.AsType[*QuorumError](err)
	if !ok {
		return err.Error()
	}
	return fmt.Sprintf("%v; required %d, received %d, live %d", q.Kind, q.Required, q.Received, q.Live)
}

// tell adds the messages of a request up to its reply.
func (s *scenario) tell(b *strings.Builder, trace *Trace, fallbacks int) string {
	if fallbacks > 0 {
		fmt.Fprintf(b, " (%d by a fallback)", fallbacks)
	}
	b.WriteByte('\n')
	if trace == nil {
		return b.String()
	}
	for _, m := range trace.Messages {
		fmt.Fprintf(b, "  %s %s", m.Action, s.node(m.Node).name)
		if !m.HintFor.IsZero() {
			fmt.Fprintf(b, " for %s", s.node(m.HintFor).name)
		}
		if m.Hedged {
			b.WriteString(", hedged")
		}
		switch took := (m.Answered - m.Asked).Truncate(time.Millisecond); {
		case m.Answered == 0:
			b.WriteString(": no answer yet")
		case m.Err != nil:
			fmt.Fprintf(b, ": %v", m.Err)
		default:
			fmt.Fprintf(b, ": %v", took)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *scenario) versionsOf(state causal.State) string {
	if len(state.Versions) == 0 {
		return "nothing"
	}
	var names []string
	for _, v := range state.Versions {
		names = append(names, fmt.Sprintf("%s=%s", s.nameOf(v.Dot), v.Value))
	}
	return strings.Join(names, " ")
}

func (s *scenario) show(t *testing.T, _ *datadriven.TestData) string {
	var b strings.Builder
	for i, n := range s.nodes {
		role := "owner"
		if i >= s.n {
			role = "fallback"
		}
		fmt.Fprintf(&b, "%s %-8s ", n.name, role)
		p := n.process()
		if p == nil {
			b.WriteString("dead\n")
			continue
		}
		state, err := p.store.Get(t.Context(), storageKey(s.item))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(s.versionsOf(state))
		for _, owner := range s.nodes {
			hints, err := p.store.Hints(storage.NodeID(owner.id), nil, 2)
			if err != nil || len(hints) > 1 {
				t.Fatalf("%d hints of one item for one owner, %v", len(hints), err)
			}
			if len(hints) == 1 {
				fmt.Fprintf(&b, ", hint for %s", owner.name)
			}
		}
		if n.isDown() {
			b.WriteString(" (down)")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *scenario) handoff(*testing.T, *datadriven.TestData) string {
	var b strings.Builder
	for _, n := range s.nodes {
		p := n.process()
		if p == nil || n.isDown() {
			continue
		}
		p.replay(func(target *stageNode, state causal.State, err error) {
			fmt.Fprintf(&b, "%s hands %s: %s", n.name, target.name, s.versionsOf(state))
			if err != nil {
				fmt.Fprintf(&b, ": %v", err)
			}
			b.WriteByte('\n')
		})
	}
	return b.String()
}

func (s *scenario) wait(t *testing.T, d *datadriven.TestData) string {
	took, err := time.ParseDuration(word(t, d, 0))
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	time.Sleep(took)
	return ""
}

func (s *scenario) setDown(t *testing.T, d *datadriven.TestData) string {
	n := s.named(t, d, word(t, d, 0))
	s.mu.Lock()
	defer s.mu.Unlock()
	n.down = true
	return ""
}

func (s *scenario) setUp(t *testing.T, d *datadriven.TestData) string {
	n := s.named(t, d, word(t, d, 0))
	if n.process() == nil {
		n.start()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n.down = false
	return ""
}

func (s *scenario) crash(t *testing.T, d *datadriven.TestData) string {
	n := s.named(t, d, word(t, d, 0))
	var after string
	if d.MaybeScanArgs(t, "after", &after); after == "" {
		n.kill()
		return ""
	}
	acks, err := strconv.Atoi(strings.TrimSuffix(after, "-acks"))
	if err != nil {
		d.Fatalf(t, "after=%s: want a number, as in after=2-acks", after)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n.proc.acks, n.proc.diesAfter = 0, acks
	return ""
}

func (s *scenario) setCut(t *testing.T, d *datadriven.TestData) string {
	for i := range d.CmdArgs {
		a, b, oneWay := strings.Cut(word(t, d, i), "->")
		if !oneWay {
			a, b, _ = strings.Cut(word(t, d, i), "-")
		}
		from, to := s.named(t, d, a), s.named(t, d, b)
		s.mu.Lock()
		s.cut[[2]*stageNode{from, to}] = d.Cmd == "cut"
		if !oneWay {
			s.cut[[2]*stageNode{to, from}] = d.Cmd == "cut"
		}
		s.mu.Unlock()
	}
	return ""
}

func (s *scenario) hold(t *testing.T, d *datadriven.TestData) string {
	n := s.named(t, d, word(t, d, 0))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[n] = make(chan struct{})
	return ""
}

func (s *scenario) deliver(t *testing.T, d *datadriven.TestData) string {
	n := s.named(t, d, word(t, d, 0))
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.held[n])
	delete(s.held, n)
	return ""
}

func (s *scenario) learn(t *testing.T, d *datadriven.TestData) string {
	n := s.named(t, d, word(t, d, 0))
	number, err := strconv.ParseUint(word(t, d, 1), 10, 64)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	if !d.HasArg("elsewhere") {
		s.moved = number
	}
	epoch := s.epochAt(number, s.moved)
	s.mu.Lock()
	defer s.mu.Unlock()
	n.epoch = epoch
	return ""
}
