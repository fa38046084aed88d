package main

import (
	enchex "encoding/hex"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

func (a *app) statusCommand() *cobra.Command {
	var local, partitions bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes, how they are, and what waits for them",
		Long: `Show the nodes as the answering one sees them, the worst first: how they are, how far their data lies behind (LAG),
how much of the ring is theirs, and the hints that others keep for them. LAG is the age of the oldest watermark:
how long ago all owners of one of the node's partitions were last proved to hold the same. Below the table stands
why a node is yellow or red.

With --partitions it shows those of the answering node instead, the oldest first.`,
		Example: `  starling status
  starling status -o json
  starling status --partitions --addr 10.0.0.2:7400
  starling status --local --addr 10.0.0.2:7400`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				opts := a.callOptions()
				if local {
					opts = append(opts, client.LocalOnly())
				}
				if partitions {
					opts = append(opts, client.PartitionLags())
				}
				s, err := c.Status(cmd.Context(), opts...)
				if err != nil {
					return err
				}
				if partitions && a.output != outputJSON {
					return a.showPartitionLags(s)
				}
				return a.showStatus(s)
			})
		},
	}
	cmd.Flags().BoolVar(&local, "local", false, "only what the answering node knows by itself")
	cmd.Flags().BoolVar(&partitions, "partitions", false, "the partitions of the answering node, the oldest first")
	return cmd
}

// jsonStatus is the cluster in JSON; durations are in milliseconds.
type jsonStatus struct {
	Cluster    string     `json:"cluster"`
	ClusterID  string     `json:"cluster_id"`
	Epoch      uint64     `json:"epoch"`
	Partitions int        `json:"partitions"`
	Node       string     `json:"answered_by"`
	Version    string     `json:"version"`
	Time       string     `json:"time"`
	Nodes      []jsonNode `json:"nodes"`
	// Lags are there with --partitions.
	Lags []jsonPartitionLag `json:"partition_lags,omitempty"`
}

type jsonNode struct {
	ID               string  `json:"id"`
	Name             string  `json:"name"`
	Zone             string  `json:"zone"`
	Liveness         string  `json:"liveness"`
	Ready            bool    `json:"ready"`
	Reason           string  `json:"reason,omitempty"`
	Member           bool    `json:"member"`
	ClientAddr       string  `json:"client_addr"`
	PeerAddr         string  `json:"peer_addr"`
	GossipAddr       string  `json:"gossip_addr"`
	HTTPAddr         string  `json:"http_addr"`
	Version          string  `json:"version"`
	Partitions       int     `json:"partitions"`
	Share            float64 `json:"share"`
	HintsWaiting     uint64  `json:"hints_waiting"`
	HintBytesWaiting uint64  `json:"hint_bytes_waiting"`
	OldestHintMS     int64   `json:"oldest_hint_ms"`
	SilentMS         int64   `json:"silent_ms"`
	LatencyUS        int64   `json:"latency_us"`

	Lag *jsonLag `json:"lag,omitempty"`
}

func newJSONStatus(s *client.Status) jsonStatus {
	out := jsonStatus{
		Cluster: s.Cluster, ClusterID: enchex.EncodeToString(s.ClusterID), Epoch: s.Epoch,
		Partitions: s.Partitions, Node: s.Node.String(), Version: s.Version, Time: rfc3339(s.Time),
		Nodes: make([]jsonNode, len(s.Nodes)),
	}
	for i, n := range s.Nodes {
		out.Nodes[i] = jsonNode{
			ID: n.ID.String(), Name: n.Name, Zone: n.Zone, Liveness: n.Liveness.String(), Ready: n.Ready,
			Reason: n.Reason, Member: n.Member, ClientAddr: n.ClientAddr, PeerAddr: n.PeerAddr,
			GossipAddr: n.GossipAddr, HTTPAddr: n.HTTPAddr, Version: n.Version, Partitions: n.Partitions,
			Share: n.Share, HintsWaiting: n.HintsWaiting, HintBytesWaiting: n.HintBytesWaiting,
			OldestHintMS: n.OldestHint.Milliseconds(), SilentMS: n.Silent.Milliseconds(),
			LatencyUS: n.Latency.Microseconds(), Lag: newJSONLag(n.Lag),
		}
	}
	for _, p := range s.Lags {
		out.Lags = append(out.Lags, newJSONPartitionLag(p))
	}
	return out
}

func (a *app) showStatus(s *client.Status) error {
	a.answer = s
	switch a.output {
	case outputJSON:
		return a.writeJSON(newJSONStatus(s))
	case outputRaw:
		for _, n := range s.Nodes {
			fmt.Fprintln(a.stdout, n.Name)
		}
		return nil
	}
	a.showCluster(s)
	nodes := worstFirst(s.Nodes)
	t := newTable("NODE", "ZONE", "STATE", "LAG", "ADDRESS", "SHARE", "PARTITIONS", "HINTS WAITING").numeric(5, 6)
	for _, n := range nodes {
		share, partitions := fmt.Sprintf("%.1f%%", 100*n.Share), strconv.Itoa(n.Partitions)
		if !n.Member {
			share, partitions = "-", "candidate"
		}
		t.add(n.Name, n.Zone, nodeState(n), lagText(n.Lag), n.ClientAddr, share, partitions, hintsWaiting(n))
	}
	const stateColumn, lagColumn = 2, 3
	t.write(a.stdout, func(row, column int, cell string) string {
		switch column {
		case stateColumn:
			return a.colour(cell)
		case lagColumn:
			return a.severe(severityOf(nodes[row]), cell)
		}
		return cell
	})
	a.explainLag(nodes)
	return nil
}

// showCluster writes what stands above the table.
func (a *app) showCluster(s *client.Status) {
	if len(s.ClusterID) == 0 {
		fmt.Fprintf(a.stdout, "cluster %s, not founded yet\n\n", s.Cluster)
		return
	}
	fmt.Fprintf(a.stdout, "cluster %s, epoch %d, %d partitions\n\n", s.Cluster, s.Epoch, s.Partitions)
}

// nodeState is what there is to say of a node in a few words.
func nodeState(n client.NodeStatus) string {
	state := n.Liveness.String()
	switch {
	case n.Liveness == client.Dead && n.Silent > 0:
		state += " for " + ageText(n.Silent)
	case n.Liveness == client.Alive:
		if !n.Ready {
			state += ", not ready"
		}
		if n.Reason != "" {
			state += ": " + n.Reason
		}
	}
	return state
}

func hintsWaiting(n client.NodeStatus) string {
	if n.HintsWaiting == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s, oldest %s)", n.HintsWaiting, bytesText(n.HintBytesWaiting), ageText(n.OldestHint))
}
