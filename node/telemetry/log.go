// Package telemetry is what a node shows of itself: its log, its metrics, and the HTTP port that serves
// these and the probes of whoever runs it.
package telemetry

import (
	"io"
	"log/slog"

	"github.com/starling-db/starling/node/config"
)

// NewLogger returns the node's logger as configured, writing to w. Every line names the node, so that the
// logs of several can be mixed.
func NewLogger(w io.Writer, c config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	var h slog.Handler
	if c.LogFormat == config.LogJSON {
		h = slog.NewJSONHandler(w, o)
	} else {
		h = slog.NewTextHandler(w, o)
	}
	return slog.New(h).With("server", c.Name)
}
