package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/starling-db/starling/client"
)

// worstPartitions bounds what a table shows of a node's partitions.
const worstPartitions = 20

// worstFirst sorts nodes for people: those that can't be counted on, red ones, yellow ones, and then by lag.
func worstFirst(nodes []client.NodeStatus) []client.NodeStatus {
	standing := func(n client.NodeStatus) int {
		switch {
		case n.Liveness == client.Dead:
			return 0
		case n.Liveness != client.Alive || !n.Ready:
			return 1
		}
		return 2
	}
	// Green and unknown are the same here: what a node doesn't say is no alarm.
	severity := func(n client.NodeStatus) client.Severity { return max(severityOf(n), client.Green) }
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b client.NodeStatus) int {
		return cmp.Or(cmp.Compare(standing(a), standing(b)), cmp.Compare(severity(b), severity(a)),
			cmp.Compare(lagAge(b.Lag), lagAge(a.Lag)), cmp.Compare(a.Name, b.Name))
	})
	return nodes
}

func severityOf(n client.NodeStatus) client.Severity {
	if n.Lag == nil {
		return client.SeverityUnknown
	}
	return n.Lag.Severity
}

// lagAge is the age of the oldest watermark; 0 where none is known.
func lagAge(l *client.Lag) time.Duration {
	if l == nil || l.Worst == nil {
		return 0
	}
	return l.Worst.Age
}

// lagText is a node's lag in a word.
func lagText(l *client.Lag) string {
	switch {
	case l == nil:
		return "-"
	case l.Rebuilding > 0:
		return fmt.Sprintf("rebuilding %d", l.Rebuilding)
	case l.Worst == nil:
		return "-"
	case l.Worst.Age <= 0:
		return "0s"
	}
	return ageText(l.Worst.Age)
}

// explainLag says why nodes are yellow or red.
func (a *app) explainLag(nodes []client.NodeStatus) {
	first := true
	for _, n := range nodes {
		if n.Lag == nil {
			continue
		}
		for _, f := range n.Lag.Findings {
			if first {
				fmt.Fprintln(a.stdout)
				first = false
			}
			fmt.Fprintf(a.stdout, "%s is %s: %s\n", n.Name, a.severe(f.Severity, f.Severity.String()), f)
		}
	}
}

// showPartitionLags shows the partitions of the answering node.
func (a *app) showPartitionLags(s *client.Status) error {
	a.answer = s
	if a.output == outputRaw {
		for _, p := range s.Lags {
			fmt.Fprintf(a.stdout, "%d\t%d\n", p.N, p.Partition)
		}
		return nil
	}
	name := s.Node.String()
	for _, n := range s.Nodes {
		if n.ID == s.Node {
			name = n.Name
		}
	}
	if len(s.Lags) == 0 {
		fmt.Fprintf(a.stdout, "%s owns no partitions, or is too old to list them\n", name)
		return nil
	}
	a.showCluster(s)
	t := newTable("PARTITION", "N", "LAG", "WHY").numeric(0, 1, 2)
	for _, p := range s.Lags[:min(len(s.Lags), worstPartitions)] {
		why := p.Reason
		if p.Rebuilding && why == "" {
			why = "rebuilding"
		}
		t.add(strconv.Itoa(p.Partition), strconv.Itoa(p.N), lagText(&client.Lag{Worst: &p}), why)
	}
	t.write(a.stdout, nil)
	if more := len(s.Lags) - worstPartitions; more > 0 {
		a.note("%d more of %s: -o json lists all.", more, name)
	}
	return nil
}

// jsonLag is a node's lag in JSON; durations are in milliseconds.
type jsonLag struct {
	Severity          string            `json:"severity"`
	Findings          []jsonLagFinding  `json:"findings"`
	Worst             *jsonPartitionLag `json:"worst,omitempty"`
	Rebuilding        int               `json:"rebuilding"`
	Hints             uint64            `json:"hints"`
	OldestHintMS      int64             `json:"oldest_hint_ms"`
	ExchangeMS        *int64            `json:"exchange_ms,omitempty"`
	Mended            uint64            `json:"mended"`
	Setback           string            `json:"setback,omitempty"`
	SetbackPartitions int               `json:"setback_partitions"`
}

type jsonLagFinding struct {
	Severity string `json:"severity"`
	What     string `json:"what"`
	Why      string `json:"why,omitempty"`
}

type jsonPartitionLag struct {
	N          int    `json:"n"`
	Partition  int    `json:"partition"`
	AgeMS      int64  `json:"age_ms"`
	Rebuilding bool   `json:"rebuilding"`
	Reason     string `json:"reason,omitempty"`
}

func newJSONLag(l *client.Lag) *jsonLag {
	if l == nil {
		return nil
	}
	out := &jsonLag{
		Severity: l.Severity.String(), Findings: make([]jsonLagFinding, len(l.Findings)), Rebuilding: l.Rebuilding,
		Hints: l.Hints, OldestHintMS: l.OldestHint.Milliseconds(), Mended: l.Mended,
		Setback: l.Setback, SetbackPartitions: l.SetbackPartitions,
	}
	for i, f := range l.Findings {
		out.Findings[i] = jsonLagFinding{f.Severity.String(), f.What, f.Why}
	}
	if l.Worst != nil {
		worst := newJSONPartitionLag(*l.Worst)
		out.Worst = &worst
	}
	if l.HasExchange {
		ms := l.Exchange.Milliseconds()
		out.ExchangeMS = &ms
	}
	return out
}

func newJSONPartitionLag(p client.PartitionLag) jsonPartitionLag {
	return jsonPartitionLag{p.N, p.Partition, p.Age.Milliseconds(), p.Rebuilding, p.Reason}
}
