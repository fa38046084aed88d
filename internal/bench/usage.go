package bench

import (
	"fmt"
	"slices"
)

// Sample is what a node's metrics said, twice in a row. All nodes are asked once, in order, and then once more.
type Sample struct {
	// Node is the node's name, Host the host of its metrics.
	Node, Host   string
	First, Again Metrics
	// Err is why there is nothing of the node.
	Err error
}

// Usage is what the processes of a cluster used while a load ran.
type Usage struct {
	Processes []Process `json:"processes"`
	// Notes say what could not be read, and what is odd.
	Notes []string `json:"notes"`
	// CPU is all of them together, in CPU-seconds; Complete is whether no node is missing from it.
	CPU      float64 `json:"cpu_seconds"`
	Complete bool    `json:"complete"`
}

// Process is one process of a cluster. A figure that its metrics don't have is 0.
type Process struct {
	// Nodes are the names of the nodes that it is.
	Nodes []string `json:"nodes"`
	CPU   float64  `json:"cpu_seconds"`
	// Memory is the resident memory in bytes at the end.
	Memory uint64 `json:"resident_bytes"`
	// Allocated is how many bytes the process allocated.
	Allocated float64 `json:"allocated_bytes"`
	// Fsyncs of the log, the seconds that they took, and the bytes that went to the log.
	Fsyncs       float64 `json:"fsyncs"`
	FsyncSeconds float64 `json:"fsync_seconds"`
	LogBytes     float64 `json:"log_bytes"`
	// Messages are requests to other nodes, Frames what these were packed into.
	Messages float64 `json:"peer_messages"`
	Frames   float64 `json:"peer_frames"`
	// Shed is how many requests of clients were refused because of too much load.
	Shed float64 `json:"shed"`
}

// NewUsage compares samples of the same nodes, in the same order, from before and after a load.
func NewUsage(before, after []Sample) *Usage {
	u := &Usage{Complete: len(before) > 0 && len(before) == len(after)}
	taken := make([]bool, len(after))
	for i := range min(len(before), len(after)) {
		if taken[i] {
			continue
		}
		if err := incomparable(before[i], after[i]); err != nil {
			u.Complete = false
			u.Notes = append(u.Notes, fmt.Sprintf("No figures of %s: %v.", after[i].Node, err))
			continue
		}
		p := newProcess(before[i].Again, after[i].First)
		for j := i; j < min(len(before), len(after)); j++ {
			if j == i || !taken[j] && after[j].Err == nil && before[j].Err == nil &&
				together(before[i], before[j]) && together(after[i], after[j]) {
				taken[j] = true
				p.Nodes = append(p.Nodes, after[j].Node)
			}
		}
		u.CPU += p.CPU
		u.Processes = append(u.Processes, p)
		if len(p.Nodes) > 1 {
			u.Notes = append(u.Notes, fmt.Sprintf("%d nodes are one process, which counts once.", len(p.Nodes)))
		}
	}
	u.Notes = slices.Compact(u.Notes)
	return u
}

// incomparable is why nothing can be said of a node.
func incomparable(before, after Sample) error {
	switch {
	case before.Err != nil:
		return before.Err
	case after.Err != nil:
		return after.Err
	case before.Again[metricStart] != after.First[metricStart]:
		return fmt.Errorf("it was restarted meanwhile")
	}
	if _, ok := after.First.CPUSince(before.Again); !ok {
		return fmt.Errorf("its metrics do not tell its CPU time")
	}
	return nil
}

// together reports whether x and y, which was asked after x both times, are one process. The time of its start alone does not
// tell: processes that are started together share the tick of the clock that it is counted in. But in one process what y says
// of the bytes that were ever allocated lies between what x says before and after.
func together(x, y Sample) bool {
	if x.Host != y.Host || x.First[metricStart] == 0 || x.First[metricStart] != y.First[metricStart] {
		return false
	}
	turns := []float64{
		x.First[metricAllocated], y.First[metricAllocated], x.Again[metricAllocated], y.Again[metricAllocated],
	}
	return turns[0] > 0 && slices.IsSorted(turns)
}

func newProcess(before, after Metrics) Process {
	grown := func(name string) float64 { return max(after[name]-before[name], 0) }
	return Process{
		CPU: grown(metricCPU), Memory: uint64(after[metricMemory]), Allocated: grown(metricAllocated),
		Fsyncs: grown(metricFsyncs), FsyncSeconds: grown(metricFsyncSeconds), LogBytes: grown(metricLogBytes),
		Messages: grown(metricMessages), Frames: grown(metricFrames), Shed: grown(metricShed),
	}
}

// PerMillion scales a figure of so many operations to a million of them; 0 if there were none.
func PerMillion(figure float64, operations uint64) float64 {
	if operations == 0 {
		return 0
	}
	return figure / float64(operations) * 1e6
}
