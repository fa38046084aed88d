package config

import (
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	for text, within := range map[string]map[string]bool{
		"":            {"00:00": true, "12:00": true, "23:59": true},
		"09:30-17:00": {"09:29": false, "09:30": true, "12:00": true, "16:59": true, "17:00": false, "00:00": false},
		"22:00-06:00": {"21:59": false, "22:00": true, "23:59": true, "00:00": true, "05:59": true, "06:00": false, "12:00": false},
		"00:00-12:00": {"00:00": true, "11:59": true, "12:00": false, "23:59": false},
		"12:00-00:00": {"00:00": false, "11:59": false, "12:00": true, "23:59": true},
		"00:00-23:59": {"23:58": true, "23:59": false},
	} {
		w, err := ParseWindow(text)
		if err != nil || w.String() != text {
			t.Errorf("%q: %q, %v", text, w, err)
		}
		for at, want := range within {
			moment, err := time.Parse("15:04:05", at+":59")
			if err != nil {
				t.Fatal(err)
			}
			if got := w.Contains(moment); got != want {
				t.Errorf("%s in %q: %v", at, text, got)
			}
		}
	}
	for _, text := range []string{
		"22:00", "22:00-", "-06:00", "22-6", "22:00-6:00", "9:00-17:00", "24:00-06:00", "22:60-06:00", "22:00-22:00", "a-b", "22:00-06:00-07:00", "22:00 - 06:00",
	} {
		if w, err := ParseWindow(text); err == nil {
			t.Errorf("%q is %v", text, w)
		}
	}
}

// It is the clock of the place that counts.
func TestWindowIsLocal(t *testing.T) {
	w, err := ParseWindow("22:00-06:00")
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	if w.Contains(noon) || !w.Contains(noon.In(time.FixedZone("east", 11*3600))) {
		t.Error("the zone of a time does not count")
	}
}
