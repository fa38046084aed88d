//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/starling-db/starling/internal/bench"
	"github.com/starling-db/starling/internal/spawn"
)

const (
	// settle is the pause between measurements, for what the last one left to do.
	settle = 2 * time.Second
	// floorShare: a floor is measured for so much less time than a workload.
	floorShare = 3
	// longestProfile is what a node's HTTP port has time for.
	longestProfile = 25 * time.Second
)

// report is what a process that measures prints, starling bench or a floor.
type report struct {
	Result    *bench.Result `json:"result"`
	ServerCPU *float64      `json:"server_cpu_seconds_per_million,omitempty"`
	ClientCPU float64       `json:"client_cpu_seconds_per_million"`
	Servers   *bench.Usage  `json:"servers,omitempty"`
}

// floorReport is what a floor prints.
type floorReport struct {
	Result    *bench.Result `json:"result"`
	CPU       float64       `json:"cpu_seconds"`
	ServerCPU float64       `json:"server_cpu_seconds"`
}

// step is one measurement of a round.
type step struct {
	Name   string `json:"name"`
	Report report `json:"report"`
}

// round is one measurement of everything, in the order in which it was made.
type round struct {
	Steps []step `json:"steps"`
}

// names of the floors among the steps.
const (
	echoFloor   = "echo"
	pebbleFloor = "pebble"
)

// order is what a round measures: each workload has its floor right before it.
var order = []string{echoFloor, "c", pebbleFloor, echoFloor, "w", "a", echoFloor, "b"}

// suite measures.
type suite struct {
	o      options
	c      *cluster
	out    *os.File
	rounds []round
}

// measure stores the items, and runs all rounds.
func (s *suite) measure(ctx context.Context) error {
	s.say("storing %d items of %d bytes on %d nodes", s.o.items, s.o.valueBytes, s.o.nodes)
	if _, err := s.bench(ctx, "c", "--load-only"); err != nil {
		return err
	}
	for i := range s.o.runs {
		var r round
		for _, name := range order {
			if err := pause(ctx, settle); err != nil {
				return err
			}
			rep, err := s.step(ctx, name)
			if err != nil {
				return err
			}
			s.say("run %d of %d: %s", i+1, s.o.runs, line(name, rep))
			r.Steps = append(r.Steps, step{Name: name, Report: rep})
		}
		s.rounds = append(s.rounds, r)
	}
	if s.o.profiles == "" {
		return nil
	}
	return s.profile(ctx)
}

func (s *suite) step(ctx context.Context, name string) (report, error) {
	if name == echoFloor || name == pebbleFloor {
		return s.floor(ctx, name)
	}
	return s.bench(ctx, name, "--skip-load")
}

// bench runs starling bench.
func (s *suite) bench(ctx context.Context, workload string, more ...string) (report, error) {
	args := append([]string{
		"bench", "--json", "--workload", workload, "--distribution", "zipfian", "--strict", "--consistency", "quorum",
		"--durability", "sync", "--addr", s.c.addrs(),
		"--items", strconv.Itoa(s.o.items), "--value-bytes", strconv.Itoa(s.o.valueBytes),
		"--clients", strconv.Itoa(s.o.clients), "--duration", s.o.duration.String(), "--warmup", s.o.warmup.String(),
	}, more...)
	var r report
	err := capture(ctx, &r, s.o.starling, args...)
	if err != nil {
		return r, fmt.Errorf("workload %s: %w", workload, err)
	}
	return r, nil
}

// floor runs one of the floors.
func (s *suite) floor(ctx context.Context, name string) (report, error) {
	args := []string{
		name, "--callers", strconv.Itoa(s.o.clients), "--bytes", strconv.Itoa(s.o.valueBytes),
		"--duration", max(s.o.duration/floorShare, time.Second).String(),
	}
	if name == pebbleFloor {
		dir := filepath.Join(s.c.base, "floor") // the disk that the nodes are on
		defer func() { _ = os.RemoveAll(dir) }()
		args = append(args, "--dir", dir)
	}
	var f floorReport
	if err := capture(ctx, &f, s.o.floor, args...); err != nil {
		return report{}, fmt.Errorf("floor %s: %w", name, err)
	}
	r := report{Result: f.Result, ClientCPU: bench.PerMillion(f.CPU, f.Result.All.Done)}
	if name == echoFloor {
		cpu := bench.PerMillion(f.ServerCPU, f.Result.All.Done)
		r.ServerCPU = &cpu
	}
	return r, nil
}

// capture runs a program to its end and decodes what it printed.
func capture(ctx context.Context, into any, program string, args ...string) error {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, spawn.ServerEnviron()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	err := spawn.StartApart(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("%w\n%s", err, bytes.TrimSpace(stderr.Bytes())))
	}
	return json.Unmarshal(stdout.Bytes(), into)
}

// profile runs each workload once more, which does not count, while the nodes profile themselves.
func (s *suite) profile(ctx context.Context) error {
	if err := os.MkdirAll(s.o.profiles, 0o755); err != nil {
		return err
	}
	for _, workload := range []string{"a", "b", "c", "w"} {
		s.say("profiling workload %s", workload)
		var both errgroup.Group
		both.Go(func() error {
			_, err := s.bench(ctx, workload, "--skip-load")
			return err
		})
		both.Go(func() error { return s.profileNodes(ctx, workload) })
		if err := both.Wait(); err != nil {
			return err
		}
	}
	s.say("profiles: go tool pprof %s", filepath.Join(s.o.profiles, "a-*.pprof"))
	return nil
}

func (s *suite) profileNodes(ctx context.Context, workload string) error {
	if err := pause(ctx, s.o.warmup+time.Second/2); err != nil {
		return err
	}
	seconds := int(min(s.o.duration, longestProfile).Seconds())
	var nodes errgroup.Group
	for _, n := range s.c.nodes {
		nodes.Go(func() error {
			file, err := os.Create(filepath.Join(s.o.profiles, workload+"-"+n.Name+".pprof"))
			if err != nil {
				return err
			}
			err = s.c.get(ctx, n, "/debug/pprof/profile?seconds="+strconv.Itoa(max(seconds, 1)), file)
			return errors.Join(err, file.Close())
		})
	}
	return nodes.Wait()
}

// save writes all figures to the file of --json.
func (s *suite) save() error {
	if s.o.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(map[string]any{"targets": table(s.rounds), "runs": s.rounds}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.o.json, append(text, '\n'), 0o644)
}

func (s *suite) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// pause waits; its error is the context's.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
