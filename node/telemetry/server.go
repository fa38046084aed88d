package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of the HTTP port: nothing that comes in on it is large or slow.
const (
	maxConnections    = 128
	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = time.Minute
)

// ServerOptions configure the HTTP port.
type ServerOptions struct {
	// Listener is taken over: the server closes it.
	Listener net.Listener
	Metrics  *Metrics
	// Health returns why the process should be restarted, such as a failed disk; Ready why the node takes no
	// requests now. Nil: all is well. Both must be quick.
	Health, Ready func() error
	// Detail are lines that /readyz adds when all is well: what deserves a look, and is no reason to send requests elsewhere.
	Detail func() []string
	// Profiles serves /debug/pprof/ too.
	Profiles bool
	Logger   *slog.Logger // nil: none
}

// Server serves /healthz, /readyz, /metrics and, if asked to, /debug/pprof/.
type Server struct {
	http *http.Server
	done chan error
}

// Serve starts the HTTP port. The server must be Closed.
func Serve(o ServerOptions) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", probe("ok", o.Health, nil))
	mux.Handle("GET /readyz", probe("ready", o.Ready, o.Detail))
	mux.Handle("GET /metrics", o.Metrics.Handler())
	if o.Profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	s := &Server{
		http: &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			// What a stranger sends is not this node's error.
			ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		},
		done: make(chan error, 1),
	}
	go func() { s.done <- s.http.Serve(netutil.LimitListener(o.Listener, maxConnections)) }()
	return s
}

// probe answers 200 with a word, and the lines of detail, while check finds nothing, else 503 with what it found.
func probe(word string, check func() error, detail func() []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if check != nil {
			if err := check(); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, err.Error()+"\n")
				return
			}
		}
		_, _ = io.WriteString(w, word+"\n")
		if detail != nil {
			for _, line := range detail() {
				_, _ = io.WriteString(w, line+"\n")
			}
		}
	})
}

// Done yields the error with which serving ended, if it ends before Close. It yields once.
func (s *Server) Done() <-chan error { return s.done }

// Close lets the requests that run finish until ctx ends, then breaks them off.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("HTTP port: %w", err), s.http.Close())
	}
	return err
}
