//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/starling-db/starling/internal/loopback"
)

const (
	// composeFile is the cluster that users are given, and composeNodes how many services it has.
	composeFile  = "deploy/docker-compose.yml"
	composeNodes = 5
)

// project is the cluster of composeFile under a name, a subnet, ports and an image of its own, so that it may run beside
// any other.
type project struct {
	engine *engine
	root   string // of the repository
	files  []string
	env    []string
	name   string
	image  string
	subnet string // its first three numbers
	at     []ports
}

// newProject prepares a cluster, and starts nothing. What it changes of composeFile is written below dir: addresses, which
// stay when a node is unplugged, and settings, lines of YAML that every service gets.
func newProject(ctx context.Context, dir, prefix string, settings ...string) (*project, error) {
	e, err := findEngine(ctx)
	if err != nil {
		return nil, err
	}
	root, err := command(ctx, nil, nil, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%d", prefix, os.Getpid())
	p := &project{
		engine: e, root: root, name: name, image: name + ":test",
		subnet: fmt.Sprintf("10.%d.%d", 64+rand.IntN(128), rand.IntN(256)),
		files:  []string{filepath.Join(root, composeFile), filepath.Join(dir, "override.yaml")},
	}
	addrs, err := loopback.FreeAddrs(2 * composeNodes)
	if err != nil {
		return nil, err
	}
	p.env = []string{"STARLING_IMAGE=" + p.image}
	var text strings.Builder
	text.WriteString("services:\n")
	for i := range composeNodes {
		at := ports{client: addrs[2*i], http: addrs[2*i+1]}
		p.at = append(p.at, at)
		p.env = append(p.env, fmt.Sprintf("STARLING_PORT_%d=%s", i+1, portOf(at.client)), fmt.Sprintf("STARLING_HTTP_%d=%s", i+1, portOf(at.http)))
		fmt.Fprintf(&text, "  %s:\n    networks: {default: {ipv4_address: %s}}\n", nodeName(i), p.ip(i))
		for _, s := range settings {
			text.WriteString("    " + s + "\n")
		}
	}
	fmt.Fprintf(&text, "networks: {default: {ipam: {config: [{subnet: %s.0/24}]}}}\n", p.subnet)
	return p, os.WriteFile(p.files[1], []byte(text.String()), 0o600)
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

func (p *project) ip(i int) string { return fmt.Sprintf("%s.%d", p.subnet, 11+i) }

// build builds the image. It is not broken off: the engine would go on building, and the image would stay.
func (p *project) build() error {
	_, err := run(nil, nil, filepath.Join(p.root, "scripts", "image"), p.image)
	return err
}

// do runs compose.
func (p *project) do(args ...string) (string, error) {
	all := append(slices.Clone(p.engine.compose[1:]), "-p", p.name)
	for _, f := range p.files {
		all = append(all, "-f", f)
	}
	return run(nil, p.env, p.engine.compose[0], append(all, args...)...)
}

// up starts all nodes that do not run, and returns the ids of the containers in the order of the nodes.
func (p *project) up() (ids []string, err error) {
	if _, err := p.do("up", "-d"); err != nil {
		return nil, err
	}
	for i := range composeNodes {
		id, err := p.do("ps", "-q", nodeName(i))
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// ClientAddrs are where nodes take clients, in the order of the nodes.
func (p *project) ClientAddrs() (addrs []string) {
	for _, at := range p.at {
		addrs = append(addrs, at.client)
	}
	return addrs
}

// plug takes the container of a node off the network, or puts it back with its address.
func (p *project) plug(i int, id string, plugged bool) error {
	network := p.name + "_default"
	args := []string{"network", "disconnect", "-f", network, id}
	if plugged {
		args = []string{"network", "connect", "--ip", p.ip(i), "--alias", nodeName(i), network, id}
	}
	_, err := docker(args...)
	return err
}

// endedWell fails unless a container has ended with exit code 0.
func endedWell(name, id string) error {
	code, err := docker("inspect", "-f", "{{.State.ExitCode}}", id)
	if err == nil && code != "0" {
		err = fmt.Errorf("%s ended with exit code %s after SIGTERM; its log ends:\n%s", name, code, tail(id))
	}
	return err
}

// tail is the end of a container's log.
func tail(id string) string {
	log, err := run(nil, nil, "sh", "-c", `docker logs --tail 15 "$1" 2>&1`, "sh", id)
	if err != nil {
		return err.Error()
	}
	return log
}

// remove removes all that there is of the cluster: containers, network, volumes and image.
func (p *project) remove() error {
	_, down := p.do("down", "-v", "--remove-orphans", "-t", "1")
	_, image := docker("rmi", p.image)
	return errors.Join(down, image)
}
