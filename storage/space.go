package storage

// spaceLevel is how far a store goes along with what it is asked, by the room that its disk has.
type spaceLevel int32

const (
	// spaceOpen: everything is done.
	spaceOpen spaceLevel = iota
	// spaceFull: nothing that makes items grow is written. What is written still, small things and what gives room
	// back, lives off the reserve.
	spaceFull
	// spaceScarce: most of the reserve is gone, whoever took it. Records are not rewritten for the sake of hints, and
	// compactions, which need room before they give any back, do not begin.
	spaceScarce
)

// Bounds of a reserve that nobody has set: a twentieth of the disk within these, but room for all memtables to be
// flushed, as they may have to, and at most a quarter of the disk.
const (
	minReserve = 64 << 20
	maxReserve = 1 << 30
	// memTables is how many memtables there may be: one that is written to and those that wait.
	memTables = 4
)

// automaticReserve is the reserve in bytes for a disk of so many.
func automaticReserve(disk, memTable uint64) uint64 {
	reserve := min(max(disk/20, minReserve), maxReserve)
	return min(max(reserve, memTables*memTable), disk/4)
}

// ballastSize is the size in bytes of the ballast: what a start on a full disk needs at most in the ordinary course, for
// a new log and for the tables of what the old one holds.
func ballastSize(reserve, memTable uint64) uint64 { return min(reserve, 2*memTable) }

// spaceRule decides the level. All numbers are bytes.
type spaceRule struct {
	reserve uint64
	// ballast is what the ballast takes when it is there. While it isn't, that much is set aside to make it again, so
	// that letting it go does not look like room for writes.
	ballast uint64
}

// scarce is the free space below which the disk is scarce.
func (r spaceRule) scarce() uint64 { return r.reserve / 4 }

// least is the free space that an open store needs to stay open; resume what a full one needs to open again. They differ
// so that a store at the edge doesn't change its mind all the time.
func (r spaceRule) least(spent bool) uint64 {
	if spent {
		return r.reserve + r.ballast
	}
	return r.reserve
}

func (r spaceRule) resume(spent bool) uint64 { return r.least(spent) + r.reserve/8 }

// next is the level that follows now, with so much free and the ballast spent or not.
func (r spaceRule) next(now spaceLevel, free uint64, spent bool) spaceLevel {
	switch {
	case free < r.scarce():
		return spaceScarce
	case free < r.least(spent), now != spaceOpen && free < r.resume(spent):
		return spaceFull
	default:
		return spaceOpen
	}
}

// remains is what is left of free after used; never below zero.
func remains(free, used uint64) uint64 { return free - min(free, used) }
