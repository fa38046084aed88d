package config

import (
	"fmt"
	"strings"
	"time"
)

// Window is a time of the day, every day. The zero Window is all of it.
type Window struct {
	// set: there are bounds. from and until are since midnight, by the clock on the wall; a window that ends before it begins
	// goes on past midnight.
	set         bool
	from, until time.Duration
}

// ParseWindow reads "22:00-06:00", or nothing: all of the day.
func ParseWindow(text string) (w Window, err error) {
	if text == "" {
		return Window{}, nil
	}
	from, until, ok := strings.Cut(text, "-")
	if ok {
		w.set = true
		if w.from, ok = timeOfDay(from); ok {
			w.until, ok = timeOfDay(until)
		}
	}
	if !ok {
		return Window{}, fmt.Errorf("%q is no time of the day: want two times such as 22:00-06:00", clip(text))
	}
	if w.from == w.until {
		return Window{}, fmt.Errorf("%q begins when it ends: leave it empty for all of the day", clip(text))
	}
	return w, nil
}

// timeOfDay reads "hh:mm".
func timeOfDay(text string) (time.Duration, bool) {
	const form = "15:04"
	t, err := time.Parse(form, text)
	if err != nil || len(text) != len(form) {
		return 0, false
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, true
}

// String gives the form that ParseWindow reads.
func (w Window) String() string {
	if !w.set {
		return ""
	}
	clock := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60) }
	return clock(w.from) + "-" + clock(w.until)
}

// Contains reports whether a time is within the window, by the clock of the time's own place. The first minute is within it,
// the last one is not.
func (w Window) Contains(t time.Time) bool {
	if !w.set {
		return true
	}
	// Hours as a clock on the wall shows them: on a day that has 23 or 25 they are not those since midnight.
	at := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	if w.from < w.until {
		return w.from <= at && at < w.until
	}
	return w.from <= at || at < w.until
}
