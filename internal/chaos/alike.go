package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/starling-db/starling/client"
)

const (
	// alikeLimit is how long replicas may take to become alike once all else is done.
	alikeLimit = 30 * time.Second
	// alikePause is between two looks.
	alikePause = 2 * time.Second
	// compareLimit bounds the comparison of two nodes.
	compareLimit = 2 * time.Minute
)

// alike has all pairs of nodes compare what they hold, as `starling verify` does, until they hold the same.
func alike(ctx context.Context, cl *client.Client) error {
	st, err := cl.Status(ctx, client.LocalOnly())
	if err != nil {
		return err
	}
	deadline := time.Now().Add(alikeLimit)
	for {
		differs, err := unlike(ctx, cl, st.Nodes)
		if err != nil {
			return err
		}
		if differs == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%v after everything was read twice replicas still differ: %s", alikeLimit, differs)
		}
		sleep(ctx, alikePause)
	}
}

// unlike names what differs between any two nodes; empty: nothing.
func unlike(ctx context.Context, cl *client.Client, nodes []client.NodeStatus) (string, error) {
	for i, a := range nodes {
		for _, b := range nodes[i+1:] {
			found, err := cl.Compare(ctx, a.ID, b.ID, client.CompareScope{Look: true}, client.Timeout(compareLimit))
			if err != nil {
				return "", fmt.Errorf("compare %s with %s: %w", a.Name, b.Name, err)
			}
			if found.Unlike > 0 {
				return fmt.Sprintf("%s and %s in %d items", a.Name, b.Name, found.Unlike), nil
			}
		}
	}
	return "", nil
}
