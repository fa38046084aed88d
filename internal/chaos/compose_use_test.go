//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/starling-db/starling/client"
	"github.com/starling-db/starling/internal/history"
)

// write stores new items through the client, and one through the binary.
func (s *shipped) write(when string, n int) {
	s.Helper()
	for i := range n {
		key, value := fmt.Sprintf("%s-%d", when, i), fmt.Sprintf("value %d of %s", i, when)
		s.until("put "+key, func(ctx context.Context) error {
			_, err := s.client.Put(ctx, "default", client.NewKey(key, ""), []byte(value), client.Timeout(callTimeout))
			return err
		})
		s.values[key] = value
	}
	key := when + "-by-hand"
	s.until("starling put", func(context.Context) error {
		_, err := s.starling("put", key, when)
		return err
	})
	s.values[key] = when
}

// readAll reads every item through the client, and one through the binary.
func (s *shipped) readAll(when string, level client.Level) {
	s.Helper()
	s.until("read all, "+when, func(ctx context.Context) error {
		for key, want := range s.values {
			got, err := s.client.Get(ctx, "default", client.NewKey(key, ""), client.R(level), client.Timeout(callTimeout))
			if err != nil {
				return fmt.Errorf("get %s: %w", key, err)
			}
			s.same(when, key, want, got)
		}
		out, err := s.starling("get", "before-by-hand")
		if err == nil && out != "before" {
			s.Fatalf("%s: starling get says %q", when, out)
		}
		return err
	})
}

// same holds an item to what was written. A put that was tried again may have left the same value twice.
func (s *shipped) same(when, key, want string, got *client.Result) {
	s.Helper()
	if len(got.Versions) == 0 {
		s.Fatalf("%s: %s is lost", when, key)
	}
	for _, v := range got.Versions {
		if string(v.Value) != want || v.Tombstone {
			s.Fatalf("%s: %s is %q, want %q", when, key, v.Value, want)
		}
	}
}

// readOwners reads every item from all its owners.
func (s *shipped) readOwners() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), phaseLimit)
	defer cancel()
	for key, want := range s.values {
		versions, err := readFinal(ctx, s.client, history.Key{Bucket: "default", Partition: key})
		s.must(err)
		if !slices.ContainsFunc(versions, func(v history.Version) bool { return v.Value == want }) {
			s.Errorf("%s: its owners have %v, want %q", key, versions, want)
		}
	}
}

// hinted makes sure that somebody keeps something for the two that are away: else nothing is handed over later.
func (s *shipped) hinted() {
	s.Helper()
	s.until("hints are kept", func(ctx context.Context) error {
		h, err := s.client.Hints(ctx, client.Timeout(callTimeout))
		if err != nil {
			return err
		}
		for _, kept := range h.Hints {
			if kept.Items > 0 {
				return nil
			}
		}
		return errors.New("nobody keeps any")
	})
}
