package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/starling-db/starling/internal/history"
)

// outcomes and kinds list what a summary tells of.
var (
	outcomes = []history.Outcome{history.Done, history.Refused, history.Unknown}
	kinds    = slices.Compact(slices.Sorted(slices.Values(slices.Concat(atRest, []FaultKind{DiskWiped, DiskReverted}, common))))
)

// Stats are figures of one run or of several.
type Stats struct {
	Runs, Ops int
	// Faulted counts the operations during which a fault was in force.
	Faulted  int
	Outcomes map[history.Outcome]int
	// Faults counts them by kind; Missed are those that found nothing to hit.
	Faults map[FaultKind]int
	Missed int
	// Crashes counts nodes that lost what was not synced, Stopped those of them that had stopped by themselves, and
	// DisksLost those that lost what was.
	Crashes, Stopped, DisksLost int
	// HandedOff counts the runs in which hints alone had to bring the owners together.
	HandedOff int
	Simulated time.Duration
}

// Add adds another run's figures.
func (s *Stats) Add(o Stats) {
	if s.Outcomes == nil {
		s.Outcomes, s.Faults = map[history.Outcome]int{}, map[FaultKind]int{}
	}
	s.Runs += o.Runs
	s.Ops += o.Ops
	s.Faulted += o.Faulted
	s.Missed += o.Missed
	s.Crashes += o.Crashes
	s.Stopped += o.Stopped
	s.DisksLost += o.DisksLost
	s.HandedOff += o.HandedOff
	s.Simulated += o.Simulated
	for k, n := range o.Outcomes {
		s.Outcomes[k] += n
	}
	for k, n := range o.Faults {
		s.Faults[k] += n
	}
}

func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d seeds, %v of simulated time, %d operations", s.Runs, s.Simulated.Round(time.Second), s.Ops)
	if s.Ops > 0 {
		fmt.Fprintf(&b, ", %.0f %% of them during a fault", 100*float64(s.Faulted)/float64(s.Ops))
	}
	for _, o := range outcomes {
		fmt.Fprintf(&b, ", %d %s", s.Outcomes[o], o)
	}
	fmt.Fprintf(&b, "\nnodes: %d crashes, %d of them stopped by themselves, %d disks lost; %d runs in which hints alone brought owners together\nfaults:",
		s.Crashes, s.Stopped, s.DisksLost, s.HandedOff)
	for _, k := range kinds {
		fmt.Fprintf(&b, " %s %d", k, s.Faults[k])
	}
	fmt.Fprintf(&b, " (%d found nothing to hit)", s.Missed)
	return b.String()
}
