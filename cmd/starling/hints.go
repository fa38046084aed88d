package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/client"
)

func (a *app) hintsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hints",
		Short: "Show which nodes keep writes for others that could not be reached",
		Long: `Show which nodes keep writes (hints) for others that could not be reached. They hand them over when the others
are back. Nodes that don't answer are named on stderr: what they hold is not shown.`,
		Example: `  starling hints
  starling hints --local -o json`,
		Args: cobra.NoArgs,
	}
	return ofNodes(a, cmd, (*client.Client).Hints, a.showHints)
}

// jsonHints is all hints in JSON.
type jsonHints struct {
	Hints []jsonHint `json:"hints"`
	// Missing are nodes that did not answer.
	Missing []string `json:"missing"`
}

type jsonHint struct {
	Holder   string `json:"holder"`
	HolderID string `json:"holder_id"`
	Target   string `json:"target"`
	TargetID string `json:"target_id"`
	Items    uint64 `json:"items"`
	Bytes    uint64 `json:"bytes"`
	OldestMS int64  `json:"oldest_ms"`
}

func (a *app) showHints(h *client.Hints) error {
	a.answer = h
	if len(h.Missing) > 0 {
		a.note("No answer from %s: hints that they hold are not shown.", strings.Join(h.Missing, ", "))
	}
	if a.output == outputJSON {
		out := jsonHints{Hints: make([]jsonHint, len(h.Hints)), Missing: append([]string{}, h.Missing...)}
		for i, s := range h.Hints {
			out.Hints[i] = jsonHint{
				Holder: s.Holder, HolderID: s.HolderID.String(), Target: s.Target, TargetID: s.TargetID.String(),
				Items: s.Items, Bytes: s.Bytes, OldestMS: s.Oldest.Milliseconds(),
			}
		}
		return a.writeJSON(out)
	}
	if len(h.Hints) == 0 {
		fmt.Fprintln(a.stdout, "no hints")
		return nil
	}
	t := newTable("HOLDER", "TARGET", "ITEMS", "BYTES", "OLDEST").numeric(2, 3, 4)
	for _, s := range h.Hints {
		t.add(s.Holder, s.Target, strconv.FormatUint(s.Items, 10), bytesText(s.Bytes), ageText(s.Oldest))
	}
	t.write(a.stdout, nil)
	return nil
}
