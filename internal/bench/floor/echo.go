package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/starling-db/starling/internal/bench"
	"github.com/starling-db/starling/internal/spawn"
)

const (
	serveCommand = "serve"
	echoMethod   = "/starling.floor.Echo/Echo"
	// callTimeout is the deadline of each call: real ones have one, too.
	callTimeout = 10 * time.Second
)

// echoService has no generated code: its one method takes and returns a message that protobuf brings along.
var echoService = grpc.ServiceDesc{
	ServiceName: "starling.floor.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			payload := new(wrapperspb.BytesValue)
			if err := decode(payload); err != nil {
				return nil, err
			}
			return payload, nil
		},
	}},
}

// serve answers calls until in ends. It begins by writing its address.
func serve(in io.Reader, out io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	server.RegisterService(&echoService, nil)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	_, err = fmt.Fprintln(out, listener.Addr())
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	server.Stop()
	return errors.Join(err, <-done)
}

// echo measures calls to a process of its own.
func (f *flags) echo(ctx context.Context) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	server := exec.Command(self, serveCommand)
	server.Stderr = os.Stderr
	stdin, err := server.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := spawn.Start(server); err != nil {
		return fmt.Errorf("start the other end: %w", err)
	}
	r, err := f.callAll(ctx, stdout)
	// The end of its stdin ends it.
	if err := errors.Join(err, stdin.Close(), server.Wait()); err != nil {
		return err
	}
	// All of its life counts. Its warm-up is a small part, and is taken off in proportion to the time.
	used := (server.ProcessState.UserTime() + server.ProcessState.SystemTime()).Seconds()
	r.ServerCPU = used * f.duration.Seconds() / (f.duration + f.warmup).Seconds()
	return f.print(r)
}

// callAll measures calls to the server whose stdout begins with its address.
func (f *flags) callAll(ctx context.Context, stdout io.Reader) (Report, error) {
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return Report{}, fmt.Errorf("the address of the other end: %w", err)
	}
	conn, err := grpc.NewClient(strings.TrimSpace(addr), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return Report{}, err
	}
	r, err := f.measure(ctx, "echo", func(ctx context.Context, _ int, op bench.Op) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return call(ctx, conn, op.Value)
	})
	return r, errors.Join(err, conn.Close())
}

func call(ctx context.Context, conn *grpc.ClientConn, payload []byte) error {
	reply := new(wrapperspb.BytesValue)
	if err := conn.Invoke(ctx, echoMethod, wrapperspb.Bytes(payload), reply); err != nil {
		return err
	}
	if len(reply.GetValue()) != len(payload) {
		return fmt.Errorf("sent %d bytes and got %d", len(payload), len(reply.GetValue()))
	}
	return nil
}
