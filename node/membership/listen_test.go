package membership

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestListenShutdown: sockets that nobody reads from can be closed, whatever has arrived.
func TestListenShutdown(t *testing.T) {
	transport, addr, err := Listen(context.Background(), "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		conn, err := net.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write([]byte("anything")); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond) // until the sockets' readers hold it
	closed := make(chan error, 1)
	go func() { closed <- transport.Shutdown() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the sockets do not close")
	}
}
