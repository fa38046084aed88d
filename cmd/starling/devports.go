package main

import (
	"fmt"
	"net"
	"strconv"
)

// The ports of a node, from the first one of its block.
const (
	clientPort = iota
	peerPort
	gossipPort
	httpPort
	portsPerNode

	// devBase is the first port of the first node, devStep the distance to the next node's, and devBlock
	// the distance to the next place where the whole cluster is tried.
	devBase   = 7400
	devStep   = 10
	devBlock  = 100
	devBlocks = 20
)

// devPorts is the first port of the first node of a cluster on loopback.
type devPorts int

func (p devPorts) addr(node, port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p)+node*devStep+port))
}

// freeDevPorts finds a block of ports that nobody listens on. Another process may still take one before
// the nodes do; then they say so.
func freeDevPorts(nodes int) (devPorts, error) {
	var last error
	for block := range devBlocks {
		p := devPorts(devBase + block*devBlock)
		if last = p.free(nodes); last == nil {
			return p, nil
		}
	}
	return 0, fmt.Errorf("no free ports for %d nodes from %d to %d: %w", nodes, devBase, devBase+devBlocks*devBlock, last)
}

// free reports whether all ports of the block can be listened on.
func (p devPorts) free(nodes int) error {
	for node := range nodes {
		for port := range portsPerNode {
			if err := tryListen(p.addr(node, port), port == gossipPort); err != nil {
				return err
			}
		}
	}
	return nil
}

func tryListen(addr string, udp bool) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if err := listener.Close(); err != nil || !udp {
		return err
	}
	packets, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	return packets.Close()
}
