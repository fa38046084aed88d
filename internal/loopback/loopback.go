// Package loopback finds addresses for processes on this machine: of tests, of chaos runs and of the tour.
package loopback

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range that systems give to outgoing connections: a node that is down for a while
// would otherwise find its port taken by any of them.
const (
	firstPort = 12_000
	lastPort  = 31_999
)

// FreeAddrs finds addresses on loopback that nobody listens on, by TCP or UDP. They are all held until the last is
// found, so that they are distinct; another process may still take one before it is used.
func FreeAddrs(n int) (addrs []string, err error) {
	var held []io.Closer
	defer func() {
		for _, c := range held {
			err = errors.Join(err, c.Close())
		}
	}()
	for tries := 0; len(addrs) < n; tries++ {
		if tries == 100*n {
			return nil, fmt.Errorf("found %d of %d free ports between %d and %d", len(addrs), n, firstPort, lastPort)
		}
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		stream, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		held = append(held, stream)
		packets, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		held = append(held, packets)
		addrs = append(addrs, addr)
	}
	return addrs, nil
}
