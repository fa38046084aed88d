//go:build unix

package transport

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/starling-db/starling/proto/starling/v1"
)

// processEnv makes TestOtherProcess the server of TestProcessStoppedAndKilled.
const processEnv = "STARLING_TEST_TRANSPORT_SERVER"

// TestOtherProcess answers pings and nothing else, until it is killed or its standard input ends.
func TestOtherProcess(t *testing.T) {
	if os.Getenv(processEnv) == "" {
		t.Skip("runs as the other process of TestProcessStoppedAndKilled")
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := HandlerFunc(func(_ context.Context, _ Peer, _ *pb.Hello, batch []*Request) {
		for _, r := range batch {
			if r.Message.GetPing() != nil {
				r.Reply(replyTo(r.Message))
			}
		}
	})
	s := serveOn(lis, Options{Self: func() Identity { return testIdentity(2) }}, h)
	defer s.stop()
	_, _ = os.Stdout.WriteString("listening " + lis.Addr().String() + "\n")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// The same as in memory, but with a process, signals and the kernel's TCP.
func TestProcessStoppedAndKilled(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$")
	cmd.Env = append(os.Environ(), processEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if err != nil || !ok {
		t.Fatalf("the other process said %q: %v", line, err)
	}
	peer := Peer{ID: NodeID{2}, Addr: addr}
	p := NewPool(Options{Self: func() Identity { return testIdentity(1) }})
	defer p.Close()
	if _, err := p.Call(within(t, 10*time.Second), peer, ping()); err != nil {
		t.Fatal(err)
	}

	signal(t, cmd, syscall.SIGSTOP)
	var ee *ExpiredError
	err = nil
	for err == nil { // kill(2) returns before every thread has stopped
		_, err = p.Call(within(t, 200*time.Millisecond), peer, ping())
	}
	if !errors.As(err, &ee) || !ee.Sent {
		t.Errorf("a stopped process: %v", err)
	}
	signal(t, cmd, syscall.SIGCONT)
	if _, err := p.Call(within(t, 10*time.Second), peer, ping()); err != nil {
		t.Errorf("once it goes on: %v", err)
	}

	unanswered := make(chan error, 1)
	go func() {
		_, err := p.Call(within(t, time.Minute), peer, read("x"))
		unanswered <- err
	}()
	for p.Stats()[0].InFlight == 0 {
		time.Sleep(time.Millisecond)
	}
	signal(t, cmd, syscall.SIGKILL)
	var ue *UnreachableError
	select {
	case err := <-unanswered:
		if !errors.As(err, &ue) || !ue.Sent {
			t.Errorf("a killed process: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a killed process held a call")
	}
	if _, err := p.Call(within(t, 10*time.Second), peer, ping()); !errors.As(err, &ue) || ue.Sent {
		t.Errorf("afterwards: %v", err)
	}
}

func signal(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
