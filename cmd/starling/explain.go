package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/starling-db/starling/client"
)

// jsonExplain is a trace in JSON; durations are in microseconds.
type jsonExplain struct {
	Coordinator string        `json:"coordinator"`
	ReceivedBy  string        `json:"received_by,omitempty"`
	Token       string        `json:"token"`
	Partition   int           `json:"partition"`
	Epoch       uint64        `json:"epoch"`
	N           int           `json:"n"`
	Required    int           `json:"required"`
	Received    int           `json:"received"`
	Mode        string        `json:"mode"`
	DurationUS  int64         `json:"duration_us"`
	Replicas    []jsonReplica `json:"replicas"`
}

type jsonReplica struct {
	Node       string    `json:"node"`
	Zone       string    `json:"zone"`
	Action     string    `json:"action"`
	Outcome    string    `json:"outcome"`
	AskedUS    int64     `json:"asked_us"`
	AnsweredUS *int64    `json:"answered_us"`
	Fallback   bool      `json:"fallback"`
	HintFor    string    `json:"hint_for,omitempty"`
	Hedged     bool      `json:"hedged"`
	Repaired   bool      `json:"repaired"`
	Versions   []jsonDot `json:"versions"`
}

type jsonDot struct {
	Actor string `json:"actor"`
	HLC   string `json:"hlc"`
}

func newJSONExplain(x *client.Explain) *jsonExplain {
	if x == nil {
		return nil
	}
	out := &jsonExplain{
		Coordinator: x.Coordinator, ReceivedBy: x.ReceivedBy, Token: hex(x.Token), Partition: x.Partition,
		Epoch: x.Epoch, N: x.N, Required: x.Required, Received: x.Received, Mode: x.Mode.String(),
		DurationUS: x.Duration.Microseconds(), Replicas: make([]jsonReplica, len(x.Replicas)),
	}
	for i, r := range x.Replicas {
		row := jsonReplica{
			Node: r.Node, Zone: r.Zone, Action: r.Action, Outcome: r.Outcome, AskedUS: r.Asked.Microseconds(),
			Fallback: r.Fallback, HintFor: r.HintFor, Hedged: r.Hedged, Repaired: r.Repaired,
			Versions: make([]jsonDot, len(r.Versions)),
		}
		if r.Answered > 0 {
			us := r.Answered.Microseconds()
			row.AnsweredUS = &us
		}
		for j, d := range r.Versions {
			row.Versions[j] = jsonDot{Actor: hex(uint64(d.Actor)), HLC: hex(uint64(d.HLC))}
		}
		out.Replicas[i] = row
	}
	return out
}

// showExplain prints a trace, if there is one, below the result.
func (a *app) showExplain(x *client.Explain) {
	if x == nil {
		return
	}
	via := ""
	if x.ReceivedBy != "" && x.ReceivedBy != x.Coordinator {
		via = ", taken in by " + x.ReceivedBy
	}
	fmt.Fprintf(a.stdout, "\ncoordinated by %s%s in %s: %d of %d required answers, N=%d, %s, partition %d, token %s, epoch %d\n\n",
		x.Coordinator, via, x.Duration.Round(time.Microsecond), x.Received, x.Required, x.N, x.Mode, x.Partition, hex(x.Token), x.Epoch)
	t := newTable("NODE", "ZONE", "ROLE", "ACTION", "ASKED", "ANSWERED", "OUTCOME", "VERSIONS").numeric(4, 5)
	for _, r := range x.Replicas {
		answered := "-"
		if r.Answered > 0 {
			answered = r.Answered.String()
		}
		t.add(r.Node, r.Zone, role(r), r.Action, r.Asked.String(), answered, outcome(r), dots(r.Versions))
	}
	t.write(a.stdout, nil)
}

func role(r client.ReplicaTrace) string {
	switch {
	case r.HintFor != "":
		return "fallback for " + r.HintFor
	case r.Fallback:
		return "fallback"
	}
	return "owner"
}

func outcome(r client.ReplicaTrace) string {
	words := []string{r.Outcome}
	if r.Hedged {
		words = append(words, "hedged")
	}
	if r.Repaired {
		words = append(words, "repaired")
	}
	return strings.Join(words, ", ")
}

// dots names versions by time and the first digits of the actor: enough to tell them apart.
func dots(versions []client.Dot) string {
	if len(versions) == 0 {
		return "none"
	}
	words := make([]string, len(versions))
	for i, d := range versions {
		words[i] = fmt.Sprintf("%s.%d@%s", d.HLC.Time().Format("15:04:05.000"), d.HLC.Counter(), hex(uint64(d.Actor))[:6])
	}
	return strings.Join(words, " ")
}
