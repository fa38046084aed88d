//go:build unix

package proctest

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var (
	awayFlag = flag.Duration("away", 8*time.Second, "how long the tests keep killed and stopped nodes away")
	soakFlag = flag.Duration("soak", 0, "how long TestSoak runs; 0: not at all")
)

// exitGrew is the exit code of a soak that found a figure growing.
const exitGrew = 9

// soakGrew is set by TestSoak.
var soakGrew bool

func TestMain(m *testing.M) {
	code := m.Run()
	if err := RemoveBinary(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if soakGrew {
		code = exitGrew
	}
	os.Exit(code)
}
