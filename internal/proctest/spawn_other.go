//go:build unix && !linux

package proctest

import "syscall"

// dieWithParent can't be had here: only a test that ends by itself cleans up.
func dieWithParent() *syscall.SysProcAttr { return nil }
