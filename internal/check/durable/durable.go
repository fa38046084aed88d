// Package durable checks that no acknowledged write is lost, and none that a read has shown: when all is over, each is
// there or covered by one that is. A write that came in between and was itself replaced carries the cover on.
//
// Excused are writes into memory when a crash lost some, and writes that no more nodes acknowledged than lost their
// disks. Buckets in which the last write wins drop acknowledged writes by design: package lastwrite judges those.
package durable

import (
	"fmt"

	"github.com/starling-db/starling/internal/check/item"
	"github.com/starling-db/starling/internal/history"
)

const name = "durable"

// Check reads the last reads, and the copies of all owners.
func Check(run *history.Run) (out []history.Violation) {
	for _, it := range item.All(run) {
		if it.Final != nil && it.Bucket.Policy == history.Siblings {
			out = append(out, check(it)...)
		}
	}
	return out
}

func check(it *item.Item) (out []history.Violation) {
	var wanted []int
	for p := range it.Writes {
		if it.Kept(p) {
			wanted = append(wanted, p)
		}
	}
	look := func(where string, missing []int) {
		for _, p := range missing {
			op := it.Writes[p].Op
			what := "was acknowledged"
			if op.Outcome != history.Done {
				what = "was shown by a read"
			}
			out = append(out, history.Violation{Checker: name, Key: it.Key, Op: op.Index, Message: fmt.Sprintf(
				"%s %s (%q) %s and is lost: %s has neither it nor a successor", op.Kind, op.Write, op.Value, what, where)})
		}
	}
	if read := it.Places(it.Final.Read); len(it.Final.Read) > 0 {
		look("the last read", it.Missing(read, wanted))
	} else {
		look("the last read", unhidden(it, wanted))
	}
	missing := map[string][]int{} // of copies with the same versions
	for _, c := range it.Final.Copies {
		if !c.Owner {
			continue
		}
		id := versions(c.Versions)
		m, known := missing[id]
		if !known {
			m = it.Missing(it.Places(c.Versions), wanted)
			missing[id] = m
		}
		look("owner "+c.Node, m)
	}
	return out
}

func versions(vs []history.Version) string {
	id := ""
	for _, v := range vs {
		id += string(v.Write) + " "
	}
	return id
}

// unhidden are the writes that a last read without versions can't hide behind a tombstone.
func unhidden(it *item.Item, wanted []int) (out []int) {
	hidden := it.NewHidden()
	for _, p := range wanted {
		if !hidden.At(p, nil) {
			out = append(out, p)
		}
	}
	return out
}
