// Package counted holds what an answer says of its quorum against the nodes that made it up: W means that many distinct
// nodes, and in a strict quorum that many owners.
package counted

import (
	"fmt"

	"github.com/starling-db/starling/internal/history"
)

const name = "counted"

// Check complains of answers that count more acknowledgements than there are replicas, or fewer than were asked for, or
// more than nodes have acknowledged, where the answer lists those (Op.AckedBy).
func Check(run *history.Run) (out []history.Violation) {
	for i := range run.Ops {
		op := &run.Ops[i]
		if op.Kind == history.Read || op.Outcome != history.Done {
			continue
		}
		if fault := check(op, run.Buckets[op.Key.Bucket].N); fault != "" {
			out = append(out, history.Violation{Checker: name, Key: op.Key, Op: op.Index, Message: fault})
		}
	}
	return out
}

func check(op *history.Op, n int) string {
	switch {
	case op.Acks < op.Quorum:
		return fmt.Sprintf("it is done with %d acknowledgements of %d", op.Acks, op.Quorum)
	case op.Acks > n:
		return fmt.Sprintf("it counts %d acknowledgements of %d replicas", op.Acks, n)
	case op.Fallbacks > op.Acks:
		return fmt.Sprintf("it counts %d fallbacks among %d acknowledgements", op.Fallbacks, op.Acks)
	case op.Strict && op.Fallbacks > 0:
		return fmt.Sprintf("%d fallbacks count towards a strict quorum", op.Fallbacks)
	case len(op.AckedBy) == 0:
		return "" // the answer was not asked to tell
	}
	nodes, owners := map[string]bool{}, map[string]bool{}
	for _, a := range op.AckedBy {
		nodes[a.Node] = true
		if !a.Fallback {
			owners[a.Node] = true
		}
	}
	switch {
	case len(nodes) < op.Acks:
		return fmt.Sprintf("it counts %d acknowledgements, of %d nodes: %v", op.Acks, len(nodes), op.AckedBy)
	case len(owners) < op.Acks-op.Fallbacks:
		return fmt.Sprintf("it counts %d acknowledgements of owners, and there are %d: %v", op.Acks-op.Fallbacks, len(owners), op.AckedBy)
	}
	return ""
}
