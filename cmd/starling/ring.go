package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

func (a *app) ringCommand() *cobra.Command {
	f := callFlags{app: a}
	cmd := &cobra.Command{
		Use:   "ring KEY",
		Short: "Show where a key lives: token, partition and preference list",
		Long: `Show where a key lives: its token, the partition that the token is in, and the nodes in the order in which they
are preferred. The first N own the key; those behind stand in for owners that can't be reached.`,
		Example: `  starling ring greeting
  starling ring greeting -o raw | head -n 3`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := f.key(args[0])
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(c *client.Client) error {
				l, err := c.Locate(cmd.Context(), f.bucket, key.Partition, a.callOptions()...)
				if err != nil {
					return err
				}
				return a.showLocation(f.bucket, key, l)
			})
		},
	}
	f.inBucket(cmd)
	return cmd
}

// jsonLocation is where a key lives.
type jsonLocation struct {
	Bucket      string          `json:"bucket"`
	Partition   *string         `json:"partition_key,omitempty"`
	Partition64 *string         `json:"partition_key_base64,omitempty"`
	Token       string          `json:"token"`
	Arc         int             `json:"partition"`
	Epoch       uint64          `json:"epoch"`
	N           int             `json:"n"`
	Preference  []jsonPlacement `json:"preference"`
}

type jsonPlacement struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Zone     string `json:"zone"`
	Liveness string `json:"liveness"`
	Owner    bool   `json:"owner"`
	Guardian bool   `json:"guardian"`
}

func (a *app) showLocation(bucket string, key client.Key, l *client.Location) error {
	a.answer = l
	switch a.output {
	case outputJSON:
		partition := newText(key.Partition)
		out := jsonLocation{
			Bucket: bucket, Partition: partition.utf8, Partition64: partition.base64, Token: hex(l.Token),
			Arc: l.Partition, Epoch: l.Epoch, N: l.N, Preference: make([]jsonPlacement, len(l.Preference)),
		}
		for i, p := range l.Preference {
			out.Preference[i] = jsonPlacement{
				ID: p.ID.String(), Name: p.Name, Zone: p.Zone, Liveness: p.Liveness.String(),
				Owner: p.Owner, Guardian: p.Guardian,
			}
		}
		return a.writeJSON(out)
	case outputRaw:
		for _, p := range l.Preference {
			fmt.Fprintln(a.stdout, p.Name)
		}
		return nil
	}
	fmt.Fprintf(a.stdout, "token %s, partition %d, epoch %d, N=%d\n\n", hex(l.Token), l.Partition, l.Epoch, l.N)
	t := newTable("#", "NODE", "ZONE", "ROLE", "STATE").numeric(0)
	for i, p := range l.Preference {
		role := "fallback, only proxies"
		switch {
		case p.Owner:
			role = "owner"
		case p.Guardian:
			role = "fallback"
		}
		t.add(strconv.Itoa(i+1), p.Name, p.Zone, role, p.Liveness.String())
	}
	t.write(a.stdout, nil)
	return nil
}
