package client

import (
	"math"
)

// WithoutSessions has a Client make every call by itself.
func (c *Client) WithoutSessions() {
	for _, addr := range c.route(target{}) {
		if e, err := c.pool.get(addr); err == nil {
			e.sessions.unaryUntil.Store(math.MaxInt64)
		}
	}
}
