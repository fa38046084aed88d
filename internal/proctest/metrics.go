//go:build unix

package proctest

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// web asks nodes for their figures; one that is stopped must not hold the test.
var web = &http.Client{Timeout: 5 * time.Second}

// maxPage bounds what is read of a node's HTTP answer.
const maxPage = 16 << 20

func (n *Node) get(path string) (string, error) {
	reply, err := web.Get("http://" + n.HTTP + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(reply.Body, maxPage))
	if err != nil {
		return "", err
	}
	if reply.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", path, reply.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// Ready is nil when the node takes requests, and why not otherwise.
func (n *Node) Ready() error {
	_, err := n.get("/readyz")
	return err
}

// Metrics are the node's figures, by name with labels as /metrics writes them.
func (n *Node) Metrics() (map[string]float64, error) {
	page, err := n.get("/metrics")
	if err != nil {
		return nil, err
	}
	figures := make(map[string]float64)
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			figures[line[:at]] = v
		}
	}
	return figures, nil
}
