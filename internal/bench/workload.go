package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Kind is a kind of operation.
type Kind int

// Kinds of operations.
const (
	// Read reads one item.
	Read Kind = iota
	// Update overwrites an item that is there, without reading it.
	Update
	// Insert stores a new item.
	Insert
	// Scan reads some items of one partition key in the order of their sort keys.
	Scan
	// Modify reads an item and overwrites what it read. Both together are one operation.
	Modify

	kinds
)

// String returns the kind as reports name it.
func (k Kind) String() string {
	return [...]string{"read", "update", "insert", "scan", "modify"}[k]
}

// Kinds lists all kinds in the order of reports.
func Kinds() []Kind { return []Kind{Read, Update, Insert, Scan, Modify} }

// Workload is a mix of operations.
type Workload struct {
	// Name is one letter; About says in a few words what it is.
	Name, About string
	// Mix is how many of a hundred operations are of each kind.
	Mix [kinds]int
	// Distribution is the workload's own; a run may use another.
	Distribution Distribution
	// Grouped: items share partition keys and have sort keys.
	Grouped bool
}

// Workloads lists YCSB's core workloads, and w, which is not one of them.
func Workloads() []Workload {
	return []Workload{
		{Name: "a", About: "half reads, half updates", Mix: [kinds]int{Read: 50, Update: 50}, Distribution: Zipfian},
		{Name: "b", About: "95 % reads, 5 % updates", Mix: [kinds]int{Read: 95, Update: 5}, Distribution: Zipfian},
		{Name: "c", About: "reads only", Mix: [kinds]int{Read: 100}, Distribution: Zipfian},
		{Name: "d", About: "95 % reads of what is new, 5 % inserts", Mix: [kinds]int{Read: 95, Insert: 5}, Distribution: Latest},
		{Name: "e", About: "95 % scans, 5 % inserts", Mix: [kinds]int{Scan: 95, Insert: 5}, Distribution: Zipfian, Grouped: true},
		{Name: "f", About: "half reads, half read-modify-writes", Mix: [kinds]int{Read: 50, Modify: 50}, Distribution: Zipfian},
		UpdatesOnly(),
	}
}

// UpdatesOnly is workload w.
func UpdatesOnly() Workload {
	return Workload{Name: "w", About: "updates only (not one of YCSB's)", Mix: [kinds]int{Update: 100}, Distribution: Zipfian}
}

// ParseWorkload finds a workload by its letter, small or capital.
func ParseWorkload(s string) (Workload, error) {
	var names []string
	for _, w := range Workloads() {
		if w.Name == strings.ToLower(s) {
			return w, nil
		}
		names = append(names, w.Name)
	}
	return Workload{}, fmt.Errorf("workload %q: want one of %s", s, strings.Join(names, ", "))
}

// maxScan is the most items that a scan asks for; how many it asks for is uniform from 1 to that, as in YCSB.
const maxScan = 100

// Op is one operation.
type Op struct {
	Kind Kind
	Key  Key
	// Value is what to store. It is only lent: read it until the operation ends, and never change it.
	Value []byte
	// Limit is how many items a scan reads at most, from Key on.
	Limit int

	// item is the number of what is inserted.
	item uint64
}

// source draws the operations of one caller. It belongs to that caller.
type source struct {
	rng    *rand.Rand
	mix    [kinds]int
	choose chooser
	items  *Items
	values *Values
}

// next draws an operation.
func (s *source) next() Op {
	op := Op{Kind: s.kind()}
	switch op.Kind {
	case Insert:
		op.item = s.items.insert()
		op.Key = s.items.Key(op.item)
	default:
		op.Key = s.items.Key(s.choose(s.rng))
	}
	switch op.Kind {
	case Scan:
		op.Limit = 1 + s.rng.IntN(maxScan)
	case Update, Insert, Modify:
		op.Value = s.values.draw(s.rng)
	}
	return op
}

func (s *source) kind() Kind {
	n := s.rng.IntN(100)
	for k, share := range s.mix {
		if n < share {
			return Kind(k)
		}
		n -= share
	}
	return Read // shares make up a hundred: see TestWorkloads
}
