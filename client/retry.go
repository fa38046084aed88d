package client

import (
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
)

// kind says what a second try of a call could do.
type kind uint8

const (
	// kindRead changes nothing.
	kindRead kind = iota
	// kindWrite carries a request id, or is idempotent: twice is as good as once.
	kindWrite
	// kindOnce must not be sent again unless it certainly was not carried out.
	kindOnce
)

// verdict says what to do after a try that failed.
type verdict uint8

const (
	// final: another try would not help, or is not safe.
	final verdict = iota
	// elsewhere: another node may do it, at once.
	elsewhere
	// secondOpinion: one other node may see it differently; after that, final.
	secondOpinion
	// later: trying again after a while may help.
	later
)

// attempt is what is known of one failed try.
type attempt struct {
	err *Error
	// sent: the request may have reached a node.
	sent bool
}

// undone reports whether the try certainly changed nothing.
func (a attempt) undone() bool {
	switch a.err.Reason {
	case "":
		return !a.sent
	case reasonOutcomeUnknown, reasonInternal:
		return false
	}
	return true
}

// judge decides what follows a failed try.
func (a attempt) judge(k kind) verdict {
	if k == kindOnce && !a.undone() {
		return final
	}
	switch a.err.Reason {
	case reasonInternal:
		if a.err.Code == codes.DeadlineExceeded || a.err.Code == codes.Canceled {
			return later
		}
	case reasonNotReady:
		return elsewhere
	case reasonQuorumUnavailable, reasonDiskFull:
		return secondOpinion
	case reasonOverloaded, reasonQuorumNotReached, reasonOutcomeUnknown, reasonStaleEpoch:
		return later
	case "":
		switch a.err.Code {
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
			return elsewhere
		}
	}
	return final
}

// newBackoff paces the tries of one call: 25 ms at first, doubled to at most a second, each half to one
// and a half times that.
func newBackoff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     25 * time.Millisecond,
		RandomizationFactor: 0.5,
		Multiplier:          2,
		MaxInterval:         time.Second,
	}
}

const (
	// firstPatience is the longest that the first try of a call to one item may take while other nodes are left. Where
	// answers usually come much sooner so does the end of patience: patienceFactor times that, leastPatience at least.
	firstPatience  = 500 * time.Millisecond
	leastPatience  = 100 * time.Millisecond
	patienceFactor = 5
	// slowBytes is the slowest rate, in bytes per second, at which a value is expected to travel.
	slowBytes = 4 << 20
)

// patience is what a call with a value of so many bytes has with the first node.
func patience(bytes int) time.Duration {
	return firstPatience + time.Duration(bytes)*time.Second/slowBytes
}

// impatience is how much less the patience of a call is where so much time is typical of an answer; 0: not known.
func impatience(typical time.Duration) time.Duration {
	if typical == 0 {
		return 0
	}
	return firstPatience - min(max(patienceFactor*typical, leastPatience), firstPatience)
}

const (
	// budgetMax is how many tries beyond the first may be made in a burst.
	budgetMax = 100
	// budgetShare is what each call that succeeds adds: in the long run one in five is tried again. Calls that fail
	// add nothing, or a cluster in trouble would get the most tries.
	budgetShare = 0.2
)

// budget keeps retries a fraction of the calls of a Client, so that a cluster in trouble is not
// buried under them.
type budget struct {
	mu    sync.Mutex
	spent float64
}

// earn counts a call that succeeded.
func (b *budget) earn() {
	b.mu.Lock()
	b.spent = max(b.spent-budgetShare, 0)
	b.mu.Unlock()
}

// ample reports whether much of the budget is left.
func (b *budget) ample() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spent < budgetMax/2
}

// take reports whether one more try may be made, and counts it.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spent+1 > budgetMax {
		return false
	}
	b.spent++
	return true
}
