package membership

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/memberlist"
)

// Listen opens gossip's UDP and TCP sockets on one address, host:port, and returns the transport with the
// address that it is bound to: port 0 takes one that is free for both. For whoever needs the port before
// there is a Membership.
func Listen(ctx context.Context, bind string, logger *slog.Logger) (memberlist.Transport, string, error) {
	host, port, err := hostPort(bind)
	if err != nil {
		return nil, "", fmt.Errorf("gossip address: %w", err)
	}
	ip := netip.IPv6Unspecified()
	if host != "" {
		if ip, err = resolveOne(ctx, host, Options{}.EnsureDefaults().Resolve); err != nil {
			return nil, "", fmt.Errorf("gossip address: %w", err)
		}
	}
	// The port that is free for TCP may be taken for UDP: then another is tried.
	tries := 1
	if port == 0 {
		tries = 10
	}
	var t *memberlist.NetTransport
	for range tries {
		t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{ip.String()},
			BindPort:  port,
			Logger:    bridge(logger),
		})
		if err == nil {
			bound := net.JoinHostPort(ip.String(), strconv.Itoa(t.GetAutoBindPort()))
			return sockets{t}, bound, nil
		}
	}
	return nil, "", fmt.Errorf("gossip: %w", err)
}

// sockets are memberlist's, but their Shutdown returns also when nobody takes what has arrived: a node whose start failed
// has no Membership that would.
type sockets struct{ *memberlist.NetTransport }

func (s sockets) Shutdown() error {
	over := make(chan struct{})
	var discarding sync.WaitGroup
	discarding.Go(func() {
		for {
			select {
			case <-s.PacketCh():
			case c := <-s.StreamCh():
				_ = c.Close()
			case <-over:
				return
			}
		}
	})
	err := s.NetTransport.Shutdown()
	close(over)
	discarding.Wait()
	return err
}

// hostPort splits an address with a numeric port.
func hostPort(addr string) (string, int, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("address %s: the port is no number up to 65535", addr)
	}
	return host, int(port), nil
}

// resolveOne returns one address of a host, an IPv4 one if there is.
func resolveOne(ctx context.Context, host string, resolve func(context.Context, string) ([]netip.Addr, error)) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	ips, err := resolve(ctx, host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, ip := range ips {
		if ip.Unmap().Is4() {
			return ip.Unmap(), nil
		}
	}
	if len(ips) == 0 {
		return netip.Addr{}, errors.New("host " + host + " has no address")
	}
	return ips[0], nil
}

// bridge carries memberlist's log over. It cries "error" at every peer that does not answer, which is what
// it is there to find out: so each of its levels counts one lower here,
// down to debug.
func bridge(logger *slog.Logger) *log.Logger {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return log.New(bridgeWriter{logger}, "", 0)
}

type bridgeWriter struct{ to *slog.Logger }

func (w bridgeWriter) Write(line []byte) (int, error) {
	msg := strings.TrimSpace(string(line))
	level := slog.LevelInfo
	for _, l := range []struct {
		tag   string
		level slog.Level
	}{
		{"[ERR]", slog.LevelWarn}, {"[WARN]", slog.LevelInfo},
		{"[INFO]", slog.LevelDebug}, {"[DEBUG]", slog.LevelDebug},
	} {
		if rest, ok := strings.CutPrefix(msg, l.tag); ok {
			msg, level = rest, l.level
			break
		}
	}
	msg = strings.TrimPrefix(strings.TrimSpace(msg), "memberlist: ")
	w.to.Log(context.Background(), level, "gossip: "+msg)
	return len(line), nil
}
