package membership

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"
)

const (
	// firstRejoin is the pause after the first search; it doubles up to Tuning.RejoinInterval, and to
	// loneRejoin only while nobody is there at all.
	firstRejoin = 250 * time.Millisecond
	loneRejoin  = 2 * time.Second
	// rejoinAtOnce bounds the peers dialled side by side, rejoinTries those of one search.
	rejoinAtOnce = 4
	rejoinTries  = 32
	// speakUp is how many peers a node that has moved tells at a time, speakUpRounds how often it does,
	// speakUpPause apart: together longer than they need to give its former address up for dead.
	speakUp       = 3
	speakUpRounds = 8
	speakUpPause  = time.Second
)

// rejoinLoop looks for missing peers for ever: memberlist forgets the dead, so after a long partition
// neither side would find the other again.
func (m *Membership) rejoinLoop(ctx context.Context) {
	pause := firstRejoin
	for {
		m.rejoinOnce(ctx)
		if !m.pauseRejoin(ctx, m.jitter(pause)) {
			return
		}
		limit := m.o.Tuning.RejoinInterval
		if len(m.aliveAddrs()) == 0 {
			limit = min(limit, loneRejoin)
		}
		pause = min(2*pause, limit)
	}
}

// pauseRejoin waits for d, less when this node must speak up, and says whether to go on.
func (m *Membership) pauseRejoin(ctx context.Context, d time.Duration) bool {
	if m.conflicted.Load() > 0 {
		d = min(d, speakUpPause)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-m.rejoin:
	}
	// Never at once: with two nodes on copies of one directory this goes on until one is stopped.
	return m.sleep(ctx, min(d, speakUpPause))
}

// jitter spreads a pause over [1/2, 3/2] of it: nodes that start together must not search in step.
func (m *Membership) jitter(pause time.Duration) time.Duration {
	return pause/2 + time.Duration(m.o.Rand.Int64N(int64(pause)+1))
}

// rejoinOnce tries the peers that are missing, in random order.
func (m *Membership) rejoinOnce(ctx context.Context) {
	targets := m.missing(ctx)
	if m.conflicted.Load() > 0 {
		m.conflicted.Add(-1)
		alive := m.aliveAddrs()
		m.o.Rand.Shuffle(len(alive), func(i, j int) { alive[i], alive[j] = alive[j], alive[i] })
		targets = append(alive[:min(speakUp, len(alive))], targets...)
	}
	targets = targets[:min(rejoinTries, len(targets))]
	slots := make(chan struct{}, rejoinAtOnce)
	var tries sync.WaitGroup
	defer tries.Wait()
	for _, addr := range targets {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		tries.Go(func() {
			defer func() { <-slots }()
			if n, _ := m.list.Join([]string{addr}); n > 0 {
				m.rejoined.Add(1)
			}
		})
	}
}

// missing returns the known addresses at which nobody is alive, in random order.
func (m *Membership) missing(ctx context.Context) []string {
	skip := map[string]bool{m.addr: true}
	for _, addr := range m.aliveAddrs() {
		skip[addr] = true
	}
	var found []string
	add := func(addr string) {
		if !skip[addr] {
			skip[addr] = true
			found = append(found, addr)
		}
	}
	for _, list := range [][]string{m.o.Join, m.o.StoredPeers()} {
		for _, addr := range list {
			for _, resolved := range m.resolve(ctx, addr) {
				add(resolved)
			}
		}
	}
	for _, n := range m.table.all() {
		if n.State == Dead {
			add(n.Addr)
		}
	}
	m.o.Rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	return found
}

// resolve turns an address into those of all IPs that its host has: a name may stand for every node.
func (m *Membership) resolve(ctx context.Context, addr string) []string {
	host, port, err := hostPort(addr)
	if err != nil {
		m.o.Logger.Warn("gossip: can't look for a peer", "addr", addr, "error", err)
		return nil
	}
	if net.ParseIP(host) != nil {
		return []string{addr}
	}
	ctx, cancel := context.WithTimeout(ctx, m.o.Tuning.StreamTimeout)
	defer cancel()
	ips, err := m.o.Resolve(ctx, host)
	if err != nil {
		m.o.Logger.Debug("gossip: can't look for a peer", "addr", addr, "error", err)
		return nil
	}
	all := make([]string, len(ips))
	for i, ip := range ips {
		all[i] = net.JoinHostPort(ip.Unmap().String(), strconv.Itoa(port))
	}
	return all
}

func (m *Membership) aliveAddrs() []string {
	var alive []string
	for _, n := range m.table.all() {
		if n.State == Alive {
			alive = append(alive, n.Addr)
		}
	}
	return alive
}
