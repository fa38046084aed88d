package ring

import (
	"fmt"
	"math/bits"
)

// Split makes a layout of more partitions in which nothing has moved: every partition is cut into
// equal parts, and each part keeps the owners of the whole, in their order. partitions is a larger
// power of two, up to MaxPartitions.
//
// Members stay as they are. To change them too, plan again with the split layout as Previous once
// it is committed: a plan that also splits would hide what it moves behind what it renames. Until
// then the counts of equal nodes may differ by as many partitions as one was cut into.
//
// Errors are *PlanError.
func Split(l *Layout, partitions int, version uint64) (*Layout, error) {
	had := l.Partitions()
	if partitions <= had || partitions > MaxPartitions || bits.OnesCount(uint(partitions)) != 1 {
		return nil, &PlanError{Field: "Partitions", Reason: fmt.Sprintf(
			"%d, want a power of two from %d to %d to split %d", partitions, 2*had, MaxPartitions, had)}
	}
	owners := make([]uint16, 0, partitions*l.replicas)
	for p := range had {
		for range partitions / had {
			owners = append(owners, l.row(p)...)
		}
	}
	return newLayout(version, l.members, partitions, l.replicas, owners), nil
}
