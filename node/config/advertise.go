package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Advertise returns what others should dial for a listener that is bound to bound (host:port, the port
// resolved). override, host or host:port, goes first; its missing port is the bound one. Otherwise the
// bound host counts, and an unspecified one (0.0.0.0, ::) stands for the first private address among
// interfaces (net.InterfaceAddrs), else the first public, else the loopback.
func Advertise(bound, override string, interfaces func() ([]net.Addr, error)) (string, error) {
	host, port, err := net.SplitHostPort(bound)
	if err != nil {
		return "", fmt.Errorf("bound address: %w", err)
	}
	if override != "" {
		if given, text, err := net.SplitHostPort(override); err == nil {
			return net.JoinHostPort(given, text), nil
		}
		return net.JoinHostPort(override, port), nil
	}
	if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
		return bound, nil
	}
	addrs, err := interfaces()
	if err != nil {
		return "", fmt.Errorf("finding an address to advertise for %s: %w", bound, err)
	}
	ip, ok := pickAddress(addrs)
	if !ok {
		return "", fmt.Errorf("finding an address to advertise for %s: no interface has one; set it with the -advertise setting", bound)
	}
	return net.JoinHostPort(ip.String(), port), nil
}

// pickAddress returns the best of addrs: private before public before loopback, in the order given. A
// link-local one is never right: it means nothing without its interface.
func pickAddress(addrs []net.Addr) (netip.Addr, bool) {
	var best netip.Addr
	rank := 0
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip, r := prefix.Addr().Unmap(), 0
		switch {
		case ip.IsPrivate():
			r = 3
		case ip.IsGlobalUnicast():
			r = 2
		case ip.IsLoopback():
			r = 1
		}
		if r > rank {
			best, rank = ip, r
		}
	}
	return best, rank > 0
}

// checkAdvertised checks an override of Advertise: empty, host or host:port that can be dialled.
func checkAdvertised(addr string) error {
	if addr == "" {
		return nil
	}
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		host, text = addr, "1"
	}
	if port, err := strconv.ParseUint(text, 10, 16); err != nil || port == 0 {
		return fmt.Errorf("%q: the port must be a number from 1 to 65535", clip(addr))
	}
	if ip, err := netip.ParseAddr(host); host == "" || (err == nil && ip.IsUnspecified()) {
		return errors.New("must be an address that others can dial")
	}
	return nil
}
