package main

import "strings"

// colour shows the state of a node in green, yellow or red, on a terminal that wants colours
// (https://no-color.org).
func (a *app) colour(state string) string {
	if !a.terminal(a.out) || a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb" {
		return state
	}
	code := "\x1b[33m"
	switch {
	case strings.TrimSpace(state) == "alive":
		code = "\x1b[32m"
	case strings.HasPrefix(state, "dead"):
		code = "\x1b[31m"
	}
	return code + state + "\x1b[0m"
}
