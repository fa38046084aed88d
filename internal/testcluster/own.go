package testcluster

import (
	"bytes"
	"context"
	"errors"
	"runtime/pprof"
	"strings"
	"time"
)

// labelKey marks the goroutines of a cluster. A goroutine inherits the labels of the one that starts it.
const labelKey = "starling-testcluster"

// labelled runs f so that the goroutines that it starts, and those that these start, are known to be the cluster's.
func (c *Cluster) labelled(f func()) {
	pprof.Do(context.Background(), pprof.Labels(labelKey, c.label), func(context.Context) { f() })
}

// findOwn waits a moment, and reports the stacks of goroutines that are the cluster's own.
func (c *Cluster) findOwn() error {
	var stacks string
	for range 20 {
		if stacks = c.ownStacks(); stacks == "" {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New(stacks)
}

func (c *Cluster) ownStacks() string {
	var all bytes.Buffer
	// Of the formats only this one tells labels. It can't fail: a buffer takes everything.
	_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
	var own strings.Builder
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, `"`+labelKey+`":"`+c.label+`"`) {
			own.WriteString(stack + "\n\n")
		}
	}
	return own.String()
}
