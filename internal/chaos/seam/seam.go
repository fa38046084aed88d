// Package seam lets another process break a node's disk and network, without privileges and without any change to the
// node: it stands between a node and its file system, its connections to other nodes, and its gossip. What is broken is
// told by Settings, line by line over a pipe.
package seam

import (
	"slices"
	"sync"
	"time"
)

// Settings are all that is broken at a time. The zero value breaks nothing.
type Settings struct {
	// Out and In are the addresses, host:port, of the peer and gossip ports of other nodes to which nothing is sent, and
	// from which nothing is received. What travels from a to b is stopped by telling a of Out and b of In.
	Out  []string `json:"out,omitempty"`
	In   []string `json:"in,omitempty"`
	Disk Disk     `json:"disk,omitzero"`
}

// Disk is what is wrong with a disk.
type Disk struct {
	// FailSync fails every fsync with EIO.
	FailSync bool `json:"failSync,omitempty"`
	// SlowSync is how long every fsync takes at least.
	SlowSync time.Duration `json:"slowSync,omitempty"`
	// Full: the disk has this room left, in bytes, from when it is told so. Writes beyond it fail with ENOSPC.
	Full bool  `json:"full,omitempty"`
	Room int64 `json:"room,omitempty"`
}

// Seams are those of one node. Its methods are safe for concurrent use.
type Seams struct {
	mu      sync.Mutex
	now     Settings
	room    int64
	changed chan struct{} // closed, and replaced, at every change
}

// New makes seams that break nothing.
func New() *Seams { return &Seams{changed: make(chan struct{})} }

// Set replaces what is broken. It takes effect at once, also for what waits.
func (s *Seams) Set(to Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to.Disk != s.now.Disk {
		s.room = to.Disk.Room
	}
	s.now = to
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Seams) disk() (now Disk, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Disk, s.changed
}

// way is one of the two directions between a node and an address.
type way struct {
	addr string
	out  bool
}

func (s *Seams) cut(w way) (cut bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.out {
		return slices.Contains(s.now.Out, w.addr), s.changed
	}
	return slices.Contains(s.now.In, w.addr), s.changed
}
