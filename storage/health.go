package storage

import (
	"log/slog"
	"sync"
	"sync/atomic"
)

// health is sound until the first failure, and failed from then on.
type health struct {
	logger *slog.Logger
	once   sync.Once
	cause  atomic.Pointer[FailedError]
	failed chan struct{}
	// released is closed when the store closes.
	released chan struct{}
}

func newHealth(logger *slog.Logger) *health {
	return &health{logger: logger, failed: make(chan struct{}), released: make(chan struct{})}
}

// fail notes the first failure and returns it, whatever err says about a later one.
func (h *health) fail(err error) error {
	h.once.Do(func() {
		h.cause.Store(&FailedError{Cause: err})
		close(h.failed)
		h.logger.Error("storage has failed; it refuses everything from now on", "error", err)
	})
	return h.Err()
}

// Err returns the *FailedError that Failed announced; nil while all is well.
func (h *health) Err() error {
	if e := h.cause.Load(); e != nil {
		return e
	}
	return nil
}

// frozen reports whether the files must stay as they are.
func (h *health) frozen() bool { return h.cause.Load() != nil }
