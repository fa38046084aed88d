//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/starling-db/starling/internal/chaos/seam"
	"github.com/starling-db/starling/internal/loopback"
)

// processes is a cluster of processes of internal/chaos/victim on loopback.
type processes struct {
	dir   string
	nodes []*victim
	at    []ports

	mu  sync.Mutex
	cut map[Link]bool
}

// ports are one node's addresses.
type ports struct{ client, peer, gossip, http string }

// StartProcesses builds the victim and starts a cluster of as many processes, with their data and logs below dir.
func StartProcesses(ctx context.Context, dir string, nodes int) (Cluster, error) {
	binary := filepath.Join(dir, "victim")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/starling-db/starling/internal/chaos/victim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the victim: %w\n%s", err, out)
	}
	addrs, err := loopback.FreeAddrs(4 * nodes)
	if err != nil {
		return nil, err
	}
	p := &processes{dir: dir, cut: map[Link]bool{}}
	for i := range nodes {
		at := ports{addrs[4*i], addrs[4*i+1], addrs[4*i+2], addrs[4*i+3]}
		p.at = append(p.at, at)
		name := nodeName(i)
		p.nodes = append(p.nodes, &victim{
			name: name, binary: binary, log: filepath.Join(dir, name+".log"),
			args: []string{
				"--name", name, "--dir", p.DataDir(i), "--cluster", "chaos",
				"--client-addr", at.client, "--peer-addr", at.peer, "--gossip-addr", at.gossip, "--http-addr", at.http,
				"--join", p.at[0].gossip, "--bootstrap-expect", strconv.Itoa(nodes),
				"--cache-bytes", "16MiB", "--memtable-bytes", "8MiB", "--drain-timeout", "3s",
			},
		})
	}
	for i := range nodes {
		if err := p.Start(i); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	return p, nil
}

func (p *processes) Size() int { return len(p.nodes) }

func (p *processes) Kinds() []Kind {
	return []Kind{Kill, Pause, Cut, OneWay, SyncError, SyncDelay, DiskFull, RestartAll}
}

func (p *processes) Skipped() []string { return nil }

func (p *processes) ClientAddrs() []string {
	var addrs []string
	for _, at := range p.at {
		addrs = append(addrs, at.client)
	}
	return addrs
}

func (p *processes) DataDir(i int) string { return filepath.Join(p.dir, nodeName(i)) }

func (p *processes) Data(i int) (string, error) { return p.DataDir(i), nil }

func (p *processes) Running(i int) bool { return p.nodes[i].running() }

func (p *processes) Ready(ctx context.Context, i int) error { return ready(ctx, p.at[i].http) }

// readyWithin bounds one look at whether a node is ready.
const readyWithin = 2 * time.Second

// ready asks a node's HTTP port whether it takes requests.
func ready(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(ask)
	if err != nil {
		return err
	}
	why, err := io.ReadAll(io.LimitReader(reply.Body, 1<<10))
	if err := errors.Join(err, reply.Body.Close()); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", reply.Status, strings.TrimSpace(string(why)))
	}
	return nil
}

// settings are what is cut off from a node.
func (p *processes) settings(i int) (s seam.Settings) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.cut {
		switch i {
		case l.From:
			s.Out = append(s.Out, p.at[l.To].peer, p.at[l.To].gossip)
		case l.To:
			s.In = append(s.In, p.at[l.From].peer, p.at[l.From].gossip)
		}
	}
	return s
}

func (p *processes) Start(i int) error  { return p.nodes[i].start(p.settings(i)) }
func (p *processes) Kill(i int) error   { return p.nodes[i].kill() }
func (p *processes) Resume(i int) error { return p.nodes[i].resume() }

func (p *processes) Pause(i int) error {
	_, err := p.nodes[i].signal(syscall.SIGSTOP, false)
	return err
}

func (p *processes) SetLinks(cut map[Link]bool) error {
	p.mu.Lock()
	p.cut = cut
	p.mu.Unlock()
	var running sync.WaitGroup
	errs := make([]error, len(p.nodes))
	for i, v := range p.nodes {
		running.Go(func() { errs[i] = v.set(p.settings(i)) })
	}
	running.Wait()
	return errors.Join(errs...)
}

func (p *processes) SetDisk(i int, d seam.Disk) error {
	p.nodes[i].setDisk(d)
	return p.nodes[i].set(p.settings(i))
}

func (p *processes) SetPlugged(int, bool) error { return errNotHere }

func (p *processes) Faults() (all []string) {
	for _, v := range p.nodes {
		all = append(all, v.found()...)
	}
	return all
}

func (p *processes) Terminate(limit time.Duration) error {
	var ending sync.WaitGroup
	errs := make([]error, len(p.nodes))
	for i, v := range p.nodes {
		ending.Go(func() { errs[i] = v.terminate(limit) })
	}
	ending.Wait()
	return errors.Join(errs...)
}

func (p *processes) Close() error {
	for _, v := range p.nodes {
		if err := v.kill(); err != nil && !errors.Is(err, errAway) {
			return err
		}
	}
	return nil
}
