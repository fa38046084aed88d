package client

import (
	"sync"
	"time"
)

// freshFor is how long the news of a bucket may take to reach every live node.
const freshFor = 10 * time.Second

// freshBuckets remembers buckets made a moment ago.
type freshBuckets struct {
	mu   sync.Mutex
	made map[string]time.Time
}

func (f *freshBuckets) add(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made == nil {
		f.made = make(map[string]time.Time)
	}
	for old, at := range f.made {
		if time.Since(at) > freshFor {
			delete(f.made, old)
		}
	}
	f.made[name] = time.Now()
}

func (f *freshBuckets) has(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.made[name]
	return ok && time.Since(at) <= freshFor
}
