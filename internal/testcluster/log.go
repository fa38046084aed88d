package testcluster

import (
	"log/slog"
	"strings"
	"sync"
)

// maxLog bounds what is kept of one node's log; the older half goes first.
const maxLog = 1 << 20

// logBook keeps a node's log over its restarts.
type logBook struct {
	mu   sync.Mutex
	text []byte
}

func (b *logBook) logger(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", name)
}

// Write implements io.Writer for slog.
func (b *logBook) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.text)+len(line) > maxLog {
		b.text = append([]byte(nil), b.text[len(b.text)/2:]...)
	}
	b.text = append(b.text, line...)
	return len(line), nil
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

func (b *logBook) tail(lines int) string {
	all := strings.Split(strings.TrimSpace(b.String()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
