package main

import (
	"strings"

	"github.com/starling-db/starling/client"
)

// Colours, and other ways of writing, as a terminal takes them.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint writes text in one of them, on a terminal that wants colours (https://no-color.org).
func (a *app) paint(how, text string) string {
	if !a.terminal(a.out) || a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + how + "m" + text + "\x1b[0m"
}

// severe shows what a node says of its lag in the colour of the verdict.
func (a *app) severe(s client.Severity, text string) string {
	how, known := map[client.Severity]string{client.Green: green, client.Yellow: yellow, client.Red: red}[s]
	if !known {
		return text
	}
	return a.paint(how, text)
}

// colour shows the state of a node in green, yellow or red.
func (a *app) colour(state string) string {
	switch {
	case strings.TrimSpace(state) == "alive":
		return a.paint(green, state)
	case strings.HasPrefix(state, "dead"):
		return a.paint(red, state)
	}
	return a.paint(yellow, state)
}
