//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// healthy waits until the engine has found all nodes healthy, and asks one the way that the engine does.
func (s *shipped) healthy() {
	s.Helper()
	s.until("the engine finds all nodes healthy", func(context.Context) error {
		for i, id := range s.ids {
			status, err := docker("inspect", "-f", "{{.State.Health.Status}}", id)
			if err != nil || status != "healthy" {
				return errors.Join(err, fmt.Errorf("%s is %s", nodeName(i), status))
			}
		}
		return nil
	})
	if said := s.docker("exec", s.ids[0], "/starling", "health"); said != "ready" {
		s.Errorf("starling health says %q", said)
	}
}

// confinement is what the engine says of a container's rights.
type confinement struct {
	Config     struct{ User string }
	HostConfig struct {
		ReadonlyRootfs, Privileged   bool
		CapAdd, CapDrop, SecurityOpt []string
	}
}

// confined looks at what a node may do: as the engine says, as it turns out, and as the kernel says.
func (s *shipped) confined() {
	s.Helper()
	for i, id := range s.ids {
		var all []confinement
		s.must(json.Unmarshal([]byte(s.docker("inspect", id)), &all))
		c := all[0]
		noNew := slices.ContainsFunc(c.HostConfig.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "no-new-privileges") })
		if c.Config.User != "65532:65532" || !c.HostConfig.ReadonlyRootfs || c.HostConfig.Privileged || !noNew ||
			len(c.HostConfig.CapAdd) > 0 || !slices.Equal(c.HostConfig.CapDrop, []string{"ALL"}) {
			s.Errorf("%s: %+v", nodeName(i), c)
		}
	}
	// Not even root can write outside of the volume.
	_, err := docker("exec", "-u", "0", s.ids[0], "/starling", "server", "--dir", "/elsewhere",
		"--client-addr", "127.0.0.1:0", "--peer-addr", "127.0.0.1:0", "--gossip-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0")
	if err == nil || !strings.Contains(err.Error(), "read-only file system") {
		s.Errorf("a directory outside of the volume: %v", err)
	}
	pid, ok := s.process(0)
	if !ok {
		return
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	s.must(err)
	for _, line := range []string{
		"Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532\t65532\t65532\t65532", "NoNewPrivs:\t1",
		"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000",
	} {
		if !strings.Contains(string(status), line+"\n") {
			s.Errorf("the kernel does not say %q of a node:\n%s", line, status)
		}
	}
}

// process finds the process of a container, where the engine runs on this machine.
func (s *shipped) process(i int) (pid int, ok bool) {
	s.Helper()
	if _, err := fmt.Sscan(s.docker("inspect", "-f", "{{.State.Pid}}", s.ids[i]), &pid); err != nil || pid <= 1 {
		s.Fatalf("%s has process %d: %v", nodeName(i), pid, err)
	}
	// The number alone may be another's: an engine may run in a machine of its own.
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	ours := "STARLING_CLIENT_ADVERTISE=127.0.0.1:" + portOf(s.at[i].client) + "\x00"
	if string(line) != "/starling\x00server\x00" || !strings.Contains(string(environ), ours) {
		s.Logf("left out: the process of %s can't be seen from here", nodeName(i))
		return 0, false
	}
	return pid, true
}

// crash kills a node behind the engine's back, and waits until the engine has started it again.
func (s *shipped) crash(i int) {
	s.Helper()
	pid, ok := s.process(i)
	if !ok {
		return
	}
	s.must(syscall.Kill(pid, syscall.SIGKILL))
	s.until(nodeName(i)+" is started again", func(context.Context) error {
		count, err := docker("inspect", "-f", "{{.RestartCount}} {{.State.Running}}", s.ids[i])
		if err == nil && count != "1 true" {
			err = fmt.Errorf("restarts, and whether it runs: %s", count)
		}
		return err
	})
	s.allReady()
}

// stopAll has all nodes end within the grace that the file gives them.
func (s *shipped) stopAll() {
	s.Helper()
	s.compose("stop")
	for i, id := range s.ids {
		s.must(endedWell(nodeName(i), id))
	}
}

// removed removes the cluster, and looks for what is left of it.
func (s *shipped) removed() {
	if s.Failed() {
		for i, id := range s.ids {
			s.Logf("the log of %s ends:\n%s", nodeName(i), tail(id))
		}
	}
	if err := s.remove(); err != nil {
		s.Error(err)
	}
	ours := "label=com.docker.compose.project=" + s.name
	for _, list := range [][]string{{"ps", "-aq"}, {"volume", "ls", "-q"}, {"network", "ls", "-q"}} {
		if left, err := docker(append(list, "--filter", ours)...); err != nil || left != "" {
			s.Errorf("docker %s: %q is left, %v", list[0], left, err)
		}
	}
}
