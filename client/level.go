package client

import (
	"fmt"
	"strconv"
	"strings"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// Level says how many replicas must answer a call: one of the names below, or a number made by
// Replicas. The zero Level is the bucket's own default.
type Level int

// Levels by name.
const (
	// Default is what the bucket says.
	Default Level = 0
	One     Level = 1
	Two     Level = 2
	Three   Level = 3
	// Quorum is a majority of the bucket's replicas.
	Quorum Level = -1
	// All is every replica.
	All Level = -2

	invalidLevel Level = -3
)

// Replicas is a level given as a number, from 1 to the bucket's N; the server refuses any other.
func Replicas(n int) Level {
	if n < 1 {
		return invalidLevel
	}
	return Level(n)
}

// ParseLevel reads "one", "two", "three", "quorum", "all" or a positive number.
func ParseLevel(s string) (Level, error) {
	switch strings.ToLower(s) {
	case "one":
		return One, nil
	case "two":
		return Two, nil
	case "three":
		return Three, nil
	case "quorum":
		return Quorum, nil
	case "all":
		return All, nil
	}
	if n, err := strconv.ParseUint(s, 10, 16); err == nil && n > 0 {
		return Level(n), nil
	}
	return Default, fmt.Errorf("level %q: want one, two, three, quorum, all or a number of replicas", s)
}

// String returns the level as ParseLevel reads it, "default" for the zero Level.
func (l Level) String() string {
	switch l {
	case Default:
		return "default"
	case One:
		return "one"
	case Two:
		return "two"
	case Three:
		return "three"
	case Quorum:
		return "quorum"
	case All:
		return "all"
	}
	if l < 0 {
		return "invalid"
	}
	return strconv.Itoa(int(l))
}

// proto returns the level for the wire; nil means the bucket's default. An invalid level becomes a
// number that every server refuses.
func (l Level) proto() *pb.Consistency {
	named := map[Level]pb.Level{
		One: pb.Level_LEVEL_ONE, Two: pb.Level_LEVEL_TWO, Three: pb.Level_LEVEL_THREE,
		Quorum: pb.Level_LEVEL_QUORUM, All: pb.Level_LEVEL_ALL,
	}
	if l == Default {
		return nil
	}
	if name, ok := named[l]; ok {
		return &pb.Consistency{Kind: &pb.Consistency_Level{Level: name}}
	}
	return &pb.Consistency{Kind: &pb.Consistency_Replicas{Replicas: uint32(max(l, 0))}}
}

func levelFromProto(c *pb.Consistency) Level {
	switch kind := c.GetKind().(type) {
	case *pb.Consistency_Replicas:
		return Level(kind.Replicas)
	case *pb.Consistency_Level:
		switch kind.Level {
		case pb.Level_LEVEL_ONE:
			return One
		case pb.Level_LEVEL_TWO:
			return Two
		case pb.Level_LEVEL_THREE:
			return Three
		case pb.Level_LEVEL_QUORUM:
			return Quorum
		case pb.Level_LEVEL_ALL:
			return All
		}
	}
	return Default
}

// Mode says who may count towards a level.
type Mode uint8

// Modes.
const (
	// ModeDefault leaves it to the server: sloppy.
	ModeDefault Mode = iota
	// ModeSloppy lets fallbacks stand in for owners that can't be reached.
	ModeSloppy
	// ModeStrict counts owners only.
	ModeStrict
)

// String returns "default", "sloppy" or "strict".
func (m Mode) String() string {
	return [...]string{"default", "sloppy", "strict"}[min(m, ModeStrict)]
}

func (m Mode) proto() pb.QuorumMode { return pb.QuorumMode(m) }

// Durability says when a replica may acknowledge a write.
type Durability uint8

// Durabilities.
const (
	// DurabilityDefault is what the bucket says.
	DurabilityDefault Durability = iota
	// DurabilitySync acknowledges after an fsync that covers the write.
	DurabilitySync
	// DurabilityMemory acknowledges at once. A process that crashes loses what was not synced yet.
	DurabilityMemory
)

// ParseDurability reads "sync" or "memory".
func ParseDurability(s string) (Durability, error) {
	switch strings.ToLower(s) {
	case "sync":
		return DurabilitySync, nil
	case "memory":
		return DurabilityMemory, nil
	}
	return DurabilityDefault, fmt.Errorf("durability %q: want sync or memory", s)
}

// String returns the durability as ParseDurability reads it, "default" for the zero value.
func (d Durability) String() string {
	return [...]string{"default", "sync", "memory"}[min(d, DurabilityMemory)]
}

func (d Durability) proto() pb.Durability { return pb.Durability(d) }

// Conflict says what becomes of concurrent writes to one item of a bucket.
type Conflict uint8

// Conflict policies.
const (
	// ConflictDefault is siblings.
	ConflictDefault Conflict = iota
	// ConflictSiblings keeps both until a write that has seen them replaces them.
	ConflictSiblings
	// ConflictLWW keeps the later one by the cluster's clock; the other is lost, acknowledged or not.
	ConflictLWW
)

// ParseConflict reads "siblings" or "lww".
func ParseConflict(s string) (Conflict, error) {
	switch strings.ToLower(s) {
	case "siblings":
		return ConflictSiblings, nil
	case "lww":
		return ConflictLWW, nil
	}
	return ConflictDefault, fmt.Errorf("conflict policy %q: want siblings or lww", s)
}

// String returns the policy as ParseConflict reads it, "default" for the zero value.
func (c Conflict) String() string {
	return [...]string{"default", "siblings", "lww"}[min(c, ConflictLWW)]
}

func (c Conflict) proto() pb.ConflictPolicy { return pb.ConflictPolicy(c) }
