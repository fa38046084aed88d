//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/starling-db/starling/internal/chaos/seam"
)

// compose is a project whose nodes only the runner starts.
type compose struct {
	*project
	nodes []*container
	dir   string // below it copies of what the nodes keep
	// netns is nil where single directions can be cut, and says why not elsewhere.
	netns error

	mu  sync.Mutex
	cut map[Link]bool
}

// container is one node's. Its mutex keeps what is done to it in order.
type container struct {
	id string

	mu      sync.Mutex
	meant   bool // it has been ended, or never started
	paused  bool
	unplugs bool
	faults  []string
}

// StartCompose builds the image and starts the cluster of deploy/docker-compose.yml. Files that it needs are kept below
// dir.
func StartCompose(ctx context.Context, dir string) (_ Cluster, err error) {
	p, err := newProject(ctx, dir, "starling-chaos", `restart: "no"`)
	if err != nil {
		return nil, err
	}
	c := &compose{project: p, dir: dir, cut: map[Link]bool{}}
	if err := c.build(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ids, err := c.up()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		c.nodes = append(c.nodes, &container{id: id})
	}
	c.netns = c.filter(0, nil)
	return c, nil
}

func (c *compose) Size() int { return composeNodes }

func (c *compose) Kinds() []Kind {
	kinds := []Kind{Kill, Pause, Unplug, RestartAll}
	if c.netns == nil {
		kinds = append(kinds, Cut, OneWay)
	}
	return kinds
}

func (c *compose) Skipped() []string {
	why := []string{"faults of disks: the image runs the product's own binary, which has no way to break them"}
	if c.netns != nil {
		why = append(why, fmt.Sprintf("cuts of single links: %v", c.netns))
	}
	return why
}

// Running also is true when the engine can't tell.
func (c *compose) Running(i int) bool {
	state, err := docker("inspect", "-f", "{{.State.Running}}", c.nodes[i].id)
	return err != nil || state == "true"
}

func (c *compose) Ready(ctx context.Context, i int) error { return ready(ctx, c.at[i].http) }

func (c *compose) Start(i int) error {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.Running(i) {
		return nil
	}
	if !n.meant {
		n.faults = append(n.faults, fmt.Sprintf("%s ended by itself; its log ends:\n%s", nodeName(i), tail(n.id)))
	}
	if _, err := docker("start", n.id); err != nil {
		return err
	}
	n.meant, n.paused = false, false
	return c.filterIfAny(i)
}

func (c *compose) Kill(i int) error {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if !c.Running(i) {
		return errAway
	}
	n.meant = true
	if _, err := docker("kill", "-s", "KILL", n.id); err != nil {
		return err
	}
	n.paused = false
	_, err := docker("wait", n.id)
	return err
}

func (c *compose) Pause(i int) error {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if !c.Running(i) {
		return errAway
	}
	if _, err := docker("pause", n.id); err != nil {
		return err
	}
	n.paused = true
	return nil
}

func (c *compose) Resume(i int) error {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.paused {
		return nil
	}
	n.paused = false
	_, err := docker("unpause", n.id)
	return err
}

func (c *compose) SetLinks(cut map[Link]bool) error {
	c.mu.Lock()
	c.cut = cut
	c.mu.Unlock()
	var setting sync.WaitGroup
	errs := make([]error, len(c.nodes))
	for i, n := range c.nodes {
		setting.Go(func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			if c.Running(i) {
				errs[i] = c.filterIfAny(i)
			}
		})
	}
	setting.Wait()
	return errors.Join(errs...)
}

// filterIfAny has a node that runs drop what reaches it over links that are cut.
func (c *compose) filterIfAny(i int) error {
	if c.netns != nil {
		return nil
	}
	c.mu.Lock()
	var from []int
	for l := range c.cut {
		if l.To == i {
			from = append(from, l.From)
		}
	}
	c.mu.Unlock()
	return c.filter(i, from)
}

// filter replaces what a node drops. It goes into the node's network namespace, which takes root's rights.
func (c *compose) filter(i int, from []int) error {
	pid, err := docker("inspect", "-f", "{{.State.Pid}}", c.nodes[i].id)
	if err != nil {
		return err
	}
	var rules strings.Builder
	rules.WriteString("*filter\n:INPUT ACCEPT [0:0]\n")
	for _, j := range from {
		fmt.Fprintf(&rules, "-A INPUT -s %s -j DROP\n", c.ip(j))
	}
	rules.WriteString("COMMIT\n")
	_, err = run(strings.NewReader(rules.String()), nil, "nsenter", "-t", pid, "-n", "iptables-restore", "-w")
	return err
}

// Data is a copy: who runs this may not be allowed to look at what containers keep.
func (c *compose) Data(i int) (string, error) {
	dir := filepath.Join(c.dir, nodeName(i))
	_, err := docker("cp", c.nodes[i].id+":/data", dir)
	return dir, err
}

func (c *compose) SetDisk(int, seam.Disk) error { return errNotHere }

func (c *compose) SetPlugged(i int, plugged bool) error {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if plugged != n.unplugs {
		return nil
	}
	if err := c.plug(i, n.id, plugged); err != nil {
		return err
	}
	n.unplugs = !plugged
	return nil
}

func (c *compose) Faults() (all []string) {
	for i, n := range c.nodes {
		n.mu.Lock()
		all = append(all, n.faults...)
		n.mu.Unlock()
		bad, err := run(nil, nil, "sh", "-c", `docker logs "$1" 2>&1 | grep -E -A 20 -m 1 '^(panic|fatal error): ' || true`, "sh", n.id)
		switch {
		case err != nil:
			all = append(all, err.Error())
		case bad != "":
			all = append(all, fmt.Sprintf("%s has logged: %s", nodeName(i), bad))
		}
	}
	return all
}

func (c *compose) Terminate(limit time.Duration) error {
	var ending sync.WaitGroup
	errs := make([]error, len(c.nodes))
	for i := range c.nodes {
		ending.Go(func() { errs[i] = c.terminate(i, limit) })
	}
	ending.Wait()
	return errors.Join(errs...)
}

func (c *compose) terminate(i int, limit time.Duration) error {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	n.meant = true
	if _, err := docker("stop", "-t", fmt.Sprint(int(limit.Seconds())), n.id); err != nil {
		return err
	}
	return endedWell(nodeName(i), n.id)
}

func (c *compose) Close() error { return c.remove() }
