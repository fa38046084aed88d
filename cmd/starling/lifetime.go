package main

import (
	"fmt"
	"time"

	"github.com/starling-db/starling/client"
)

// lifetime is the value of --ttl: a duration, or none.
type lifetime struct {
	time time.Duration
	none bool
}

const noLifetime = "none"

// set reports whether the flag was given.
func (l *lifetime) set() bool { return l.none || l.time != 0 }

// String returns the flag's value, nothing if it was not given.
func (l *lifetime) String() string {
	switch {
	case l.none:
		return noLifetime
	case l.time != 0:
		return l.time.String()
	}
	return ""
}

// Type names the flag's value in help texts.
func (l *lifetime) Type() string { return "duration" }

// Set parses the flag. How long is too long the server says.
func (l *lifetime) Set(s string) error {
	if s == noLifetime {
		*l = lifetime{none: true}
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("want a time above zero, such as 90s or 24h, or %s", noLifetime)
	}
	*l = lifetime{time: d}
	return nil
}

// lifetimeText is a bucket's time to live for people.
func lifetimeText(d time.Duration) string {
	if d == 0 {
		return noLifetime
	}
	return d.String()
}

// expires tells whether some of the versions expire.
func expires(versions []client.Version) bool {
	for _, v := range versions {
		if !v.Expires.IsZero() {
			return true
		}
	}
	return false
}

// expiryText is when a version expires, for tables and JSON; nothing for never.
func expiryText(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return rfc3339(at)
}
