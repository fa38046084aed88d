package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/starling-db/starling/client"
)

// tourKey is the item that the tour is about.
const tourKey = "greeting"

// tourMemory is what later steps know from earlier ones.
type tourMemory struct {
	// seen is the context of the last read.
	seen client.Context
	// owner is the node that is killed, standIn the one that takes its part.
	owner   *tourNode
	standIn string
	// missed is the version that was written meanwhile.
	missed client.Dot
}

func (t *tour) steps() []tourStep {
	return []tourStep{
		{"Five nodes, and no leader", t.begin},
		{"A write", t.write},
		{"A node dies", t.murder},
		{"Writes go on", t.writeOn},
		{"Somebody remembers", t.remember},
		{"The node is back", t.revive},
		{"Two writers who did not see each other", t.diverge},
		{"One value again", t.resolve},
	}
}

// answered carries out a command line that gets an answer of a type.
func answered[T any](ctx context.Context, t *tour, words ...string) (answer T, err error) {
	got, err := t.starling(ctx, words...)
	if err != nil {
		return answer, err
	}
	answer, ok := got.(T)
	if !ok {
		return answer, fmt.Errorf("the answer of %s is a %T", commandLine(words), got)
	}
	return answer, nil
}

// get reads the item, keeps what the read has seen for the next write, and checks the values.
func (t *tour) get(ctx context.Context, flags []string, want ...string) (*client.Result, error) {
	r, err := answered[*client.Result](ctx, t, append([]string{"get", tourKey}, flags...)...)
	if err != nil {
		return nil, err
	}
	t.seen = r.Context
	return r, claimValues(r, want...)
}

// put overwrites what the writer has seen of the item.
func (t *tour) put(ctx context.Context, seen client.Context, value string, flags ...string) (*client.Written, error) {
	words := append([]string{"put", tourKey, value, "--context", seen.String()}, flags...)
	return answered[*client.Written](ctx, t, words...)
}

func (t *tour) begin(ctx context.Context) error {
	t.say("Five servers start on this machine, each with a directory and ports of its own. They find one another\n" +
		"by gossip, and share out the keys among them. This starts the first; the others have other names and ports:")
	first := t.cluster.nodes[0]
	t.prompt(serverLine(first))
	table := newTable("NODE", "PROCESS", "CLIENTS", "METRICS AND HEALTH").numeric(1)
	for _, n := range t.cluster.nodes {
		if err := t.cluster.start(n); err != nil {
			return err
		}
		table.add(n.name, fmt.Sprint(n.PID()), n.client, "http://"+n.http+"/metrics")
	}
	table.write(t.app.stdout, nil)
	t.say("Any node takes any request, so each command here goes to %s. Whom it doesn't concern passes it on.", t.door.name)
	if err := t.cluster.met(ctx); err != nil {
		return err
	}
	s, err := answered[*client.Status](ctx, t, "status")
	if err != nil {
		return err
	}
	if err := claimAlive(s, tourNodes); err != nil {
		return err
	}
	t.held("each of the five sees the other four alive and ready.")
	return nil
}

// serverLine is how a server is started, on several lines.
func serverLine(n *tourNode) string {
	line := commandLine(n.Args)
	for _, flag := range []string{"--client-addr", "--join"} {
		line = strings.Replace(line, " "+flag, " \\\n    "+flag, 1)
	}
	return line
}

func (t *tour) write(ctx context.Context) error {
	t.say("Three nodes own each key. A write says how many of them must have it on disk before it is done.\n" +
		"A majority, two, is usual; -w all waits for all three:")
	w, err := answered[*client.Written](ctx, t, "put", tourKey, "hello", "-w", "all")
	if err != nil {
		return err
	}
	if err := claimStored(w, 3); err != nil {
		return err
	}
	if _, err := t.get(ctx, nil, "hello"); err != nil {
		return err
	}
	t.say("Who owns a key is computed from the key, so every node and every client knows:")
	l, err := answered[*client.Location](ctx, t, "ring", tourKey)
	if err != nil {
		return err
	}
	if t.owner, err = t.cluster.ownerBut(l, t.door); err != nil {
		return err
	}
	t.held("three nodes have it on disk, and a read finds it. %s is one of its owners.", t.owner.name)
	return nil
}

// ownerBut finds an owner that is not the given node.
func (c *tourCluster) ownerBut(l *client.Location, not *tourNode) (*tourNode, error) {
	for _, p := range l.Preference {
		for _, n := range c.nodes {
			if p.Owner && p.Name == n.name && n != not {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("no node but %s owns %s", not.name, tourKey)
}

func (t *tour) murder(context.Context) error {
	t.say("%s gets no chance to say goodbye:", t.owner.name)
	t.prompt(fmt.Sprintf("kill -9 %d", t.owner.PID()))
	t.cluster.kill(t.owner)
	if t.owner.Running() {
		return fmt.Errorf("%s still runs", t.owner.name)
	}
	t.held("the process of %s has gone.", t.owner.name)
	return nil
}

func (t *tour) writeOn(ctx context.Context) error {
	t.say("A writer overwrites what it has read: it hands back the context that its read returned (-o json shows it).\n" +
		"It still waits for three nodes. So one that is no owner stands in for the dead one: a sloppy quorum.\n" +
		"--explain shows what every node did:")
	w, err := t.put(ctx, t.seen, "still here", "-w", "all", "--explain")
	if err != nil {
		return err
	}
	if err := claimStored(w, 3); err != nil {
		return err
	}
	if err := claimAlone(w); err != nil {
		return err
	}
	if t.standIn, err = claimStandIn(w, t.owner.name); err != nil {
		return err
	}
	t.missed = w.Dot
	t.held("three nodes have it on disk. %s is a fallback for %s.", t.standIn, t.owner.name)
	return nil
}

func (t *tour) remember(ctx context.Context) error {
	t.say("What %s took is a hint: a write that it keeps, on its disk, until %s has it.", t.standIn, t.owner.name)
	h, err := answered[*client.Hints](ctx, t, "hints")
	if err != nil {
		return err
	}
	if err := claimHint(h, t.standIn, t.owner.name); err != nil {
		return err
	}
	t.held("%s keeps a write for %s.", t.standIn, t.owner.name)
	return nil
}

func (t *tour) revive(ctx context.Context) error {
	t.say("%s starts again, with what it had on its disk. As soon as gossip has the news, %s hands over its hint:",
		t.owner.name, t.standIn)
	t.prompt(serverLine(t.owner))
	if err := t.cluster.start(t.owner); err != nil {
		return err
	}
	if err := t.cluster.met(ctx); err != nil {
		return err
	}
	if err := until(ctx, t.handedOver); err != nil {
		return err
	}
	h, err := answered[*client.Hints](ctx, t, "hints")
	if err != nil {
		return err
	}
	if err := claimNoHints(h); err != nil {
		return err
	}
	t.say("--strict counts owners only, and -r all asks all three of them. %s itself must answer:", t.owner.name)
	r, err := t.get(ctx, []string{"-r", "all", "--strict", "--explain"}, "still here")
	if err != nil {
		return err
	}
	if err := claimServes(r, t.owner.name, t.missed); err != nil {
		return err
	}
	t.held("no hint is left, and %s serves what was written while it was dead.", t.owner.name)
	return nil
}

// handedOver fails while any node keeps a hint.
func (t *tour) handedOver(ctx context.Context) error {
	c, err := client.Open(ctx, []string{t.door.client})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it always succeeds
	h, err := c.Hints(ctx)
	if err != nil {
		return err
	}
	return claimNoHints(h)
}

func (t *tour) diverge(ctx context.Context) error {
	t.say("Ann and Bob have both read that value, and neither knows of the other. Both overwrite it, with the context\n" +
		"of what they have read:")
	seen := t.seen
	for _, value := range []string{"good morning from Ann", "good evening from Bob"} {
		w, err := t.put(ctx, seen, value)
		if err != nil {
			return err
		}
		if err := claimStored(w, 2); err != nil {
			return err
		}
	}
	t.say("A database that lets the last write win would have lost one of them. Here a read returns both:")
	if _, err := t.get(ctx, nil, "good morning from Ann", "good evening from Bob"); err != nil {
		return err
	}
	t.held("both values are there, as siblings, and what both had seen is replaced.")
	return nil
}

func (t *tour) resolve(ctx context.Context) error {
	t.say("Only the application knows what the two amount to. It writes that, with the context of the read that showed\n" +
		"both, and so replaces these two and nothing else:")
	w, err := t.put(ctx, t.seen, "good day from both")
	if err != nil {
		return err
	}
	if err := claimAlone(w); err != nil {
		return err
	}
	r, err := t.get(ctx, []string{"-r", "all", "--strict", "--explain"}, "good day from both")
	if err != nil {
		return err
	}
	if err := claimOwners(r, 3); err != nil {
		return err
	}
	t.held("one value is left, and all three owners have answered for it.")
	return nil
}
