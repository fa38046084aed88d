package telemetry

import "time"

// newSampler lists the metrics that are sampled.
func newSampler() *sampler {
	s := &sampler{}
	s.addNode()
	s.addHints()
	s.addRepairs()
	s.addLag()
	s.addScrubs()
	s.addGossip()
	s.addStorage()
	s.addTransport()
	s.addSessions()
	return s
}

func (s *sampler) addNode() {
	s.gauge("ready", "1 while the node serves requests.",
		one(func(s *Sources) func() bool { return s.Ready }, truth))
	s.gauge("epoch", "Number of the ring's epoch.",
		one(func(s *Sources) func() uint64 { return s.Epoch }, func(n uint64) float64 { return float64(n) }))
	s.gauge("clock_ahead_seconds", "How far the hybrid clock is ahead of the physical one.",
		one(func(s *Sources) func() time.Duration { return s.ClockAhead }, time.Duration.Seconds))
	s.gauge("requests_in_flight", "Client requests that run now.", func(s *Sources, add func(float64, ...string)) {
		if s.InFlight != nil {
			n, _ := s.InFlight()
			add(float64(n))
		}
	})
	s.gauge("request_bytes_in_flight", "Bytes of the client requests that run now.", func(s *Sources, add func(float64, ...string)) {
		if s.InFlight != nil {
			_, bytes := s.InFlight()
			add(float64(bytes))
		}
	})
	s.gauge("requests_pace", "Client requests about one item that are let in at once, as things are.",
		one(func(s *Sources) func() int { return s.Pace }, func(n int) float64 { return float64(n) }))
	s.gauge("peers", "Other nodes by what this one thinks of them.", func(s *Sources, add func(float64, ...string)) {
		if s.Peers == nil {
			return
		}
		p := s.Peers()
		add(float64(p.Alive), "alive")
		add(float64(p.Suspect), "suspect")
		add(float64(p.Dead), "dead")
		add(float64(p.Left), "left")
	}, "state")
}

func (s *sampler) addHints() {
	each := func(value func(Hints) float64) func(*Sources, func(float64, ...string)) {
		return func(s *Sources, add func(float64, ...string)) {
			if s.Hints == nil {
				return
			}
			seen := map[string]bool{} // two nodes of one name would break the whole scrape
			for _, h := range s.Hints() {
				if !seen[h.Target] {
					seen[h.Target] = true
					add(value(h), h.Target)
				}
			}
		}
	}
	s.gauge("hints", "Hints kept here, by the node that they are for.", each(func(h Hints) float64 { return float64(h.Items) }), "target")
	s.gauge("hint_bytes", "Bytes of the hints kept here, by the node that they are for.", each(func(h Hints) float64 { return float64(h.Bytes) }), "target")
	s.gauge("hint_oldest_seconds", "Age of the oldest hint kept here, by the node that it is for.", each(func(h Hints) float64 { return h.Oldest.Seconds() }), "target")

	replay := func(value func(Replay) uint64) func(*Sources, func(float64, ...string)) {
		return one(func(s *Sources) func() Replay { return s.Replay }, func(r Replay) float64 { return float64(value(r)) })
	}
	s.counter("hints_settled_total", "Hints that were handed over and removed.", replay(func(r Replay) uint64 { return r.Settled }))
	s.counter("hint_settled_bytes_total", "Bytes of the hints that were handed over.", replay(func(r Replay) uint64 { return r.Bytes }))
	s.counter("hint_failures_total", "Tries to hand a hint over that failed; the hint stays.", replay(func(r Replay) uint64 { return r.Failed }))
	s.gauge("hints_corrupt", "Hints that can't be read and are skipped, as the last pass over each target found.", replay(func(r Replay) uint64 { return r.Corrupt }))
}

func (s *sampler) addRepairs() {
	repairs := func(value func(Repairs) uint64) func(*Sources, func(float64, ...string)) {
		return one(func(s *Sources) func() Repairs { return s.Repairs }, func(r Repairs) float64 { return float64(value(r)) })
	}
	s.counter("repair_exchanges_total", "Exchanges with other owners that this node began.", repairs(func(r Repairs) uint64 { return r.Exchanges }))
	s.counter("repair_exchanges_failed_total", "Those of them that failed.", repairs(func(r Repairs) uint64 { return r.Failed }))
	s.counter("repair_partitions_total", "Partitions compared.", repairs(func(r Repairs) uint64 { return r.Partitions }))
	s.counter("repair_partitions_differed_total", "Partitions that were not the same.", repairs(func(r Repairs) uint64 { return r.Differed }))
	s.counter("repair_leaves_total", "Leaves of trees whose items were compared.", repairs(func(r Repairs) uint64 { return r.Leaves }))
	s.counter("repair_items_total", "Items compared.", repairs(func(r Repairs) uint64 { return r.Items }))
	s.counter("repair_items_fetched_total", "Items that were mended here.", repairs(func(r Repairs) uint64 { return r.Fetched }))
	s.counter("repair_items_pushed_total", "Items that were mended on the other side.", repairs(func(r Repairs) uint64 { return r.Pushed }))
	s.counter("repair_items_refused_total", "Items that one side would not take.", repairs(func(r Repairs) uint64 { return r.Refused }))
	s.counter("repair_leaves_recounted_total", "Leaves that were wrong here and were counted anew.", repairs(func(r Repairs) uint64 { return r.Recounted }))
	s.counter("repair_bytes_total", "Bytes of the states that were sent and fetched.", repairs(func(r Repairs) uint64 { return r.Bytes }))
	s.gauge("repair_rate_bytes_per_second", "How fast exchanges that go on by themselves may move states at present, clients considered.",
		one(func(s *Sources) func() Repairs { return s.Repairs }, func(r Repairs) float64 { return r.Rate }))
	s.counter("repair_held_seconds_total", "Time that exchanges waited to keep requests of clients from becoming slow.",
		one(func(s *Sources) func() Repairs { return s.Repairs }, func(r Repairs) float64 { return r.Held.Seconds() }))
	s.gauge("repair_oldest_seconds", "How long ago the exchange with some other owner ended that lies back farthest.",
		one(func(s *Sources) func() Repairs { return s.Repairs }, func(r Repairs) float64 { return r.Oldest.Seconds() }))
}

func (s *sampler) addLag() {
	lag := func(value func(Lag) float64) func(*Sources, func(float64, ...string)) {
		return one(func(s *Sources) func() Lag { return s.Lag }, value)
	}
	s.gauge("watermark_age_seconds", "How long ago all owners of a partition that this node owns were last proved to hold the same.",
		func(s *Sources, add func(float64, ...string)) {
			if s.Watermarks == nil {
				return
			}
			for _, w := range s.Watermarks() {
				add(w.Age.Seconds(), w.N, w.Partition)
			}
		}, "n", "partition")
	s.gauge("rebuilding_partitions", "Partitions whose copy on this node has no vote until it has been compared with all others.",
		lag(func(l Lag) float64 { return float64(l.Rebuilding) }))
	s.counter("rounds_total", "Rounds that this node has led.", lag(func(l Lag) float64 { return float64(l.Rounds) }))
	s.counter("round_partitions_total", "Partitions whose watermark rose by rounds that this node has led.", lag(func(l Lag) float64 { return float64(l.Raised) }))
	s.counter("round_partitions_failed_total", "Partitions for which such a round came to nothing.", lag(func(l Lag) float64 { return float64(l.Failed) }))
	s.counter("purged_items_total", "Items from which a tombstone, a past or an expired value was purged.", lag(func(l Lag) float64 { return float64(l.Purged) }))
	s.counter("purged_items_removed_total", "Those of them of which nothing was left.", lag(func(l Lag) float64 { return float64(l.Removed) }))
	s.gauge("purge_leaves", "Leaves of the trees that have something to purge, now or later.", lag(func(l Lag) float64 { return float64(l.PurgeDue) }))
}

func (s *sampler) addScrubs() {
	scrubs := func(value func(Scrubs) float64) func(*Sources, func(float64, ...string)) {
		return one(func(s *Sources) func() Scrubs { return s.Scrubs }, value)
	}
	s.counter("scrub_bytes_total", "Bytes of records read to verify them.", scrubs(func(f Scrubs) float64 { return float64(f.Bytes) }))
	s.counter("scrub_records_total", "Records verified.", scrubs(func(f Scrubs) float64 { return float64(f.Records) }))
	s.counter("scrub_damaged_total", "Records that were found damaged and set aside.", scrubs(func(f Scrubs) float64 { return float64(f.Damaged) }))
	s.counter("scrub_mended_total", "Damaged items that were fetched from all other owners.", scrubs(func(f Scrubs) float64 { return float64(f.Mended) }))
	s.gauge("scrub_waiting", "Items that are damaged and have no vote, as the last try to mend them left it.",
		scrubs(func(f Scrubs) float64 { return float64(f.Waiting) }))
	s.gauge("scrub_quarantine_bytes", "Bytes of damaged records that are kept.", scrubs(func(f Scrubs) float64 { return float64(f.QuarantineBytes) }))
	s.counter("scrub_quarantine_dropped_total", "Damaged records whose bytes were dropped because there was no room for them.",
		scrubs(func(f Scrubs) float64 { return float64(f.QuarantineDropped) }))
	s.gauge("scrub_age_seconds", "How long ago all records were last verified; until that is so, how long ago it was begun.",
		scrubs(func(f Scrubs) float64 { return f.Age.Seconds() }))
}

func (s *sampler) addGossip() {
	gossip := func(value func(Gossip) uint64) func(*Sources, func(float64, ...string)) {
		return one(func(s *Sources) func() Gossip { return s.Gossip }, func(g Gossip) float64 { return float64(value(g)) })
	}
	s.counter("gossip_foreign_total", "Packets and streams refused because they were another cluster's.", gossip(func(g Gossip) uint64 { return g.ForeignCluster }))
	s.counter("gossip_garbage_total", "Packets and streams refused because they were no gossip.", gossip(func(g Gossip) uint64 { return g.Garbage }))
	s.counter("gossip_refused_nodes_total", "Messages about nodes that were not let in.", gossip(func(g Gossip) uint64 { return g.RefusedNodes }))
	s.counter("gossip_address_conflicts_total", "Claims of one node id by two addresses.", gossip(func(g Gossip) uint64 { return g.AddressConflicts }))
	s.counter("gossip_rejoins_total", "Missing peers that were reached again.", gossip(func(g Gossip) uint64 { return g.Rejoins }))
	s.counter("stalls_total", "Times that this process was found to have stood still.", gossip(func(g Gossip) uint64 { return g.Stalls }))
}

func (s *sampler) addStorage() {
	figure := func(value func(Storage) uint64) func(*Sources, func(float64, ...string)) {
		return one(func(s *Sources) func() Storage { return s.Storage }, func(f Storage) float64 { return float64(value(f)) })
	}
	s.gauge("storage_disk_bytes", "Disk space in use.", figure(func(f Storage) uint64 { return f.DiskBytes }))
	s.gauge("storage_wal_bytes", "Size of the write-ahead log.", figure(func(f Storage) uint64 { return f.WALBytes }))
	s.gauge("storage_memtable_bytes", "Memory of the memtables.", figure(func(f Storage) uint64 { return f.MemTableBytes }))
	s.gauge("storage_cache_bytes", "Memory of the block cache.", figure(func(f Storage) uint64 { return f.CacheBytes }))
	s.counter("storage_cache_hits_total", "Blocks found in the cache.", figure(func(f Storage) uint64 { return f.CacheHits }))
	s.counter("storage_cache_misses_total", "Blocks read from disk.", figure(func(f Storage) uint64 { return f.CacheMisses }))
	s.gauge("storage_item_cache_bytes", "Memory of the items kept in memory.", figure(func(f Storage) uint64 { return f.ItemCacheBytes }))
	s.counter("storage_item_cache_hits_total", "Items found in memory.", figure(func(f Storage) uint64 { return f.ItemCacheHits }))
	s.counter("storage_item_cache_misses_total", "Items looked up in the storage engine.", figure(func(f Storage) uint64 { return f.ItemCacheMisses }))
	s.counter("storage_flushes_total", "Memtables written out.", figure(func(f Storage) uint64 { return f.Flushes }))
	s.counter("storage_compactions_total", "Compactions done.", figure(func(f Storage) uint64 { return f.Compactions }))
	s.gauge("storage_read_amplification", "Sorted runs that a read looks into at most.", figure(func(f Storage) uint64 { return f.ReadAmplification }))
	s.gauge("storage_l0_files", "Files that wait for their first compaction.", figure(func(f Storage) uint64 { return f.L0Files }))
	s.gauge("storage_compaction_debt_bytes", "Bytes that compactions have to get through.", figure(func(f Storage) uint64 { return f.DebtBytes }))
	s.counter("storage_wal_written_bytes_total", "Bytes written to the write-ahead log.", figure(func(f Storage) uint64 { return f.WALWritten }))
	s.counter("storage_fsyncs_total", "Fsyncs of the write-ahead log.", figure(func(f Storage) uint64 { return f.Fsyncs }))
	s.counter("storage_fsync_seconds_total", "Time that those fsyncs took.",
		one(func(s *Sources) func() Storage { return s.Storage }, func(f Storage) float64 { return f.FsyncTime.Seconds() }))
	s.gauge("disk_free_bytes", "Free space of the data directory's disk; 0 where it can't be told.", figure(func(f Storage) uint64 { return f.DiskFree }))
	s.gauge("disk_full", "1 while writes are refused because the disk has no more than its reserve.",
		one(func(s *Sources) func() Storage { return s.Storage }, func(f Storage) float64 { return truth(f.DiskFull) }))
	s.counter("disk_full_refusals_total", "Writes of clients and other nodes refused because of that.", figure(func(f Storage) uint64 { return f.DiskRefusals }))
	s.gauge("storage_failed", "1 once a disk error has stopped the storage for good.",
		one(func(s *Sources) func() Storage { return s.Storage }, func(f Storage) float64 { return truth(f.Failed) }))
}

func (s *sampler) addSessions() {
	figure := func(value func(Sessions) float64) func(*Sources, func(float64, ...string)) {
		return one(func(s *Sources) func() Sessions { return s.Sessions }, value)
	}
	s.gauge("sessions", "Sessions of clients that are open.", figure(func(f Sessions) float64 { return float64(f.Open) }))
	s.gauge("session_reply_bytes", "Bytes of replies that wait to be sent in sessions.", figure(func(f Sessions) float64 { return float64(f.Waiting) }))
	s.counter("session_frames_total", "Frames of calls that came in sessions.", figure(func(f Sessions) float64 { return float64(f.Frames) }))
	s.counter("session_calls_total", "Calls that came in sessions; by frames, how full these are.", figure(func(f Sessions) float64 { return float64(f.Calls) }))
}

func (s *sampler) addTransport() {
	figure := func(value func(Transport) uint64) func(*Sources, func(float64, ...string)) {
		return one(func(s *Sources) func() Transport { return s.Transport }, func(f Transport) float64 { return float64(value(f)) })
	}
	s.gauge("peer_requests_in_flight", "Requests to other nodes that wait for their reply.", figure(func(f Transport) uint64 { return f.InFlight }))
	s.gauge("peer_requests_queued", "Requests to other nodes that wait to be sent.", figure(func(f Transport) uint64 { return f.Queued }))
	s.counter("peer_frames_sent_total", "Frames of requests sent to other nodes.", figure(func(f Transport) uint64 { return f.Frames }))
	s.counter("peer_requests_sent_total", "Requests sent to other nodes; by frames, how full these are.", figure(func(f Transport) uint64 { return f.Requests }))
	bytes := func(small, bulk func(Transport) uint64) func(*Sources, func(float64, ...string)) {
		return func(s *Sources, add func(float64, ...string)) {
			if s.Transport != nil {
				f := s.Transport()
				add(float64(small(f)), "requests")
				add(float64(bulk(f)), "bulk")
			}
		}
	}
	s.counter("peer_sent_bytes_total", "Bytes of requests sent to other nodes, by the stream: bulk is for repairs, handing over, and what is large.",
		bytes(func(f Transport) uint64 { return f.Sent }, func(f Transport) uint64 { return f.BulkSent }), "stream")
	s.counter("peer_received_bytes_total", "Bytes of their replies.",
		bytes(func(f Transport) uint64 { return f.Received }, func(f Transport) uint64 { return f.BulkReceived }), "stream")
	s.counter("peer_connects_total", "Connections made to other nodes, the first ones included.", figure(func(f Transport) uint64 { return f.Connects }))
	s.counter("peer_overloads_total", "Requests between nodes shed because a queue was full, on either side.", figure(func(f Transport) uint64 { return f.Overloads }))
	s.counter("peer_expired_total", "Requests of other nodes dropped because their time had run out.", figure(func(f Transport) uint64 { return f.Expired }))
	s.counter("peer_hellos_refused_total", "Streams of other nodes refused: another cluster's, or meant for another node.", figure(func(f Transport) uint64 { return f.HellosRefused }))
}
