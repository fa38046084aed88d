//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/proctest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := proctest.RemoveBinary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// phaseLimit is how long any one step of the compose test may take. It only has to be longer than a busy machine needs.
const phaseLimit = 90 * time.Second

// shipped is the compose cluster as users start it, and what has been written to it.
type shipped struct {
	*testing.T
	*project
	ids    []string
	binary string
	client *client.Client
	values map[string]string
	began  time.Time // of the present step
}

// TestShippedCluster starts the cluster of deploy/docker-compose.yml as it is given to users, uses it from this machine,
// takes one node off the network and kills another, and holds it to what docs/operations.md says of it.
func TestShippedCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts containers")
	}
	if err := EngineAnswers(t.Context()); err != nil {
		t.Skipf("there is nothing to run containers with: %v", err)
	}
	s := startShipped(t)
	s.step("started")
	s.write("before", 40)
	s.readAll("with all nodes", client.All)
	s.step("written and read")
	s.confined()
	s.healthy()
	s.step("confined and healthy")

	const unplugged, killed = 3, 4
	s.must(s.plug(unplugged, s.ids[unplugged], false))
	s.docker("kill", "-s", "KILL", s.ids[killed])
	s.readAll("with two nodes away", client.Quorum)
	s.write("meanwhile", 40)
	s.readAll("written with two nodes away", client.Quorum)
	s.hinted()
	s.step("written and read with two nodes away")

	s.must(s.plug(unplugged, s.ids[unplugged], true))
	s.upAgain()
	_, err := drained(s.Context(), s.client, phaseLimit)
	s.must(err)
	s.readOwners()
	s.step("handed over")
	s.crash(1)
	s.step("crashed")

	s.stopAll()
	s.step("stopped")
	s.compose("down")
	s.ids = nil
	s.upAgain()
	s.readAll("after down and up", client.Quorum)
	s.readOwners()
	s.step("started again")
}

func startShipped(t *testing.T) *shipped {
	t.Helper()
	p, err := newProject(t.Context(), t.TempDir(), "starling-test")
	if err != nil {
		t.Fatal(err)
	}
	s := &shipped{T: t, project: p, values: map[string]string{}, began: time.Now()}
	s.must(proctest.LookAtSources())
	s.must(s.build())
	s.step("built")
	t.Cleanup(s.removed)
	s.upAgain()
	s.binary = s.hostBinary()
	if s.client, err = client.Open(t.Context(), s.ClientAddrs()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.client.Close() }) // it always succeeds
	return s
}

// hostBinary is the binary for this machine: the image's own, where that is built for such a machine.
func (s *shipped) hostBinary() string {
	s.Helper()
	if runtime.GOOS != "linux" {
		path, err := proctest.Binary()
		s.must(err)
		return path
	}
	path := filepath.Join(s.TempDir(), "starling")
	s.docker("cp", s.ids[0]+":/starling", path)
	return path
}

// step says how long what was done since the last step has taken.
func (s *shipped) step(done string) {
	s.Helper()
	s.Logf("%s: %v", done, time.Since(s.began).Round(time.Millisecond))
	s.began = time.Now()
}

func (s *shipped) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *shipped) docker(args ...string) string {
	s.Helper()
	out, err := docker(args...)
	s.must(err)
	return out
}

func (s *shipped) compose(args ...string) string {
	s.Helper()
	out, err := s.do(args...)
	s.must(err)
	return out
}

// starling runs the binary on this machine, against all nodes.
func (s *shipped) starling(args ...string) (string, error) {
	return command(s.Context(), nil, []string{"STARLING_ADDR=" + strings.Join(s.ClientAddrs(), ",")}, s.binary, args...)
}

// until tries something until it succeeds. What it waits for is availability, which no single request is promised while
// nodes come and go.
func (s *shipped) until(what string, try func(ctx context.Context) error) {
	s.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.Context(), phaseLimit)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			if took := time.Since(began); took > time.Second {
				s.Logf("%s: took %v", what, took.Round(time.Millisecond))
			}
			return
		}
		if !sleep(ctx, lookEvery) {
			s.Fatalf("%s: not within %v: %v", what, phaseLimit, err)
		}
	}
}

// upAgain starts what does not run, with the containers that there are, and waits until all take requests.
func (s *shipped) upAgain() {
	s.Helper()
	ids, err := s.up()
	s.must(err)
	if s.ids != nil && !slices.Equal(s.ids, ids) {
		s.Errorf("up made new containers: %v, and not %v", ids, s.ids)
	}
	s.ids = ids
	s.allReady()
}

func (s *shipped) allReady() {
	s.Helper()
	s.until("all nodes take requests", func(ctx context.Context) error {
		var errs []error
		for _, at := range s.at {
			errs = append(errs, ready(ctx, at.http))
		}
		return errors.Join(errs...)
	})
}
