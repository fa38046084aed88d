package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/starling-db/starling/node/config"
)

const (
	// healthTimeout is how long a node may take to say how it is, unless --timeout says otherwise: a probe must have its
	// answer before whoever runs it gives up.
	healthTimeout = 3 * time.Second
	// maxReason bounds what is shown of a node's reason.
	maxReason = 4 << 10
)

// errNoAnswer is an HTTP port that can't be reached, or doesn't answer in time.
var errNoAnswer = errors.New("no answer")

func (a *app) healthCommand() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask one node whether it takes requests",
		Long: `Ask the HTTP port of one node whether it takes requests: exit code 0 if it does, 1 if it says that it does
not, with its reason, 3 if it doesn't answer within --timeout (3s). It is meant for whoever supervises
the node, above all in a container that has nothing but this binary.

The address is that of --http-addr, then of STARLING_HTTP_ADDR, as the node itself has it; where it names no
host, this machine is meant. A node that has its address from a configuration file needs --http-addr.`,
		Example: `  starling health
  starling health --http-addr 10.0.0.2:7403 --timeout 1s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.health(cmd.Context(), addr)
		},
	}
	fallback := a.getenv("STARLING_HTTP_ADDR")
	if fallback == "" {
		fallback = config.Default().HTTPAddr
	}
	cmd.Flags().StringVar(&addr, "http-addr", fallback, "HTTP address of the node (or STARLING_HTTP_ADDR)")
	return cmd
}

// health asks a node whether it is ready.
func (a *app) health(ctx context.Context, addr string) error {
	if a.timeout < 0 {
		return misused("--timeout %v is negative", a.timeout)
	}
	limit := a.timeout
	if limit == 0 {
		limit = healthTimeout
	}
	at, err := dialled(addr)
	if err != nil {
		return misused("--http-addr %q: %w", addr, err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	said, ready, err := askReady(ctx, at)
	switch {
	case err != nil:
		return err
	case !ready:
		return fmt.Errorf("the node at %s takes no requests: %s", at, said)
	case a.output == outputJSON:
		return a.writeJSON(map[string]any{"ready": true, "http_addr": at})
	}
	_, err = fmt.Fprintln(a.stdout, said)
	return err
}

// dialled is where a listener can be reached from its own machine.
func dialled(listening string) (string, error) {
	host, port, err := net.SplitHostPort(listening)
	if err != nil {
		return "", errors.New("want host:port")
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && ip.Unmap() == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// askReady asks a node's /readyz, and returns what it says.
func askReady(ctx context.Context, addr string) (said string, ready bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return "", false, misused("--http-addr %q: %w", addr, err)
	}
	// No proxy: the node is near, and a proxy's answer would not be its own.
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	reply, err := transport.RoundTrip(request)
	if err != nil {
		return "", false, fmt.Errorf("%w from %s: %w", errNoAnswer, addr, err)
	}
	body, err := io.ReadAll(io.LimitReader(reply.Body, maxReason))
	if err = errors.Join(err, reply.Body.Close()); err != nil {
		return "", false, fmt.Errorf("%w from %s: %w", errNoAnswer, addr, err)
	}
	said = strings.TrimSpace(string(body))
	if reply.StatusCode != http.StatusOK && reply.StatusCode != http.StatusServiceUnavailable {
		return "", false, fmt.Errorf("%s is no node's HTTP port: it answers %s", addr, reply.Status)
	}
	return said, reply.StatusCode == http.StatusOK, nil
}
