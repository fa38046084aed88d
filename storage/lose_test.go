package storage

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/starling-db/starling/causal"
)

// A leaf that was made to miscount is wrong in memory and after a restart, and is what its items say once it was counted.
func TestMiscount(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	k := key("p", "")
	s.put(t, k, s.write("a"))
	ctx := context.Background()
	right := s.kept()
	by := leafOfItem([]byte("nobody's"), causal.Digest{1})
	must(t, s.Miscount(ctx, k.Bucket, LeafOf(k.Token), by))
	must(t, s.Miscount(ctx, k.Bucket, LeafOf(k.Token)+1, by))
	mustClose(t, s)
	s = open(t, fs)
	defer mustClose(t, s)
	if got := s.kept()[treeKeyOf(AppendKey(nil, k))]; got != right[treeKeyOf(AppendKey(nil, k))].plus(by) {
		t.Errorf("the leaf is %+v", got)
	}
	found, err := s.Recount(ctx, LeafRange{All: true}, noPace)
	if err != nil || found.Wrong != 2 {
		t.Errorf("recount: %+v, %v; want 2 wrong leaves", found, err)
	}
	s.checkTrees(t)
}

// DamageIf harms only what is as it was said to be.
func TestDamageIf(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer mustClose(t, s)
	k := key("p", "")
	s.put(t, k, s.write("a"))
	ctx := context.Background()
	old := s.get(t, k).Digest()
	s.overwrite(t, k, "b")
	if done, err := s.DamageIf(ctx, k, old); done || err != nil {
		t.Errorf("an item that has changed: %v, %v", done, err)
	}
	now := s.get(t, k).Digest()
	if done, err := s.DamageIf(ctx, k, now); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	if _, err := s.Get(ctx, k); err == nil {
		t.Error("the damage is not seen")
	}
	if done, err := s.DamageIf(ctx, k, now); done || err != nil {
		t.Errorf("an item that is damaged: %v, %v", done, err)
	}
}
