package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/starling-db/starling/internal/kvfake"
	"github.com/starling-db/starling/internal/proctest"
)

// completed are the candidates for the last word of a command line, without what is said of them, and the directive.
func (c cli) completed(t *testing.T, words ...string) (candidates []string, directive string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(c.must(t, append([]string{"__complete"}, words...)...)), "\n")
	for _, line := range lines[:len(lines)-1] {
		candidate, _, _ := strings.Cut(line, "\t")
		candidates = append(candidates, candidate)
	}
	return candidates, lines[len(lines)-1]
}

// Directives as cobra's scripts take them.
const (
	defaultFiles = ":0"
	noFiles      = ":4"
	extensions   = ":8"
	onlyDirs     = ":16"
	inOrder      = ":36"
)

func TestCompletion(t *testing.T) {
	c := cli{cluster: kvfake.Start(t, 1)}
	c.must(t, "bucket", "create", "carts")
	c.must(t, "bucket", "create", "two words")
	const levels, buckets = "one two three quorum all", "carts|default|two words"
	for _, test := range []struct{ line, want, directive string }{
		{"get k -r ", levels, inOrder},
		{"put k v --write ", levels, inOrder},
		{"bucket create b -w ", levels, inOrder},
		{"get k --consistency ", levels, inOrder},
		{"put k v --durability ", "sync memory", inOrder},
		{"put k v --ttl ", "10m 24h none", inOrder},
		{"bucket alter b --ttl ", "10m 24h none", inOrder},
		{"bucket create b --conflict ", "siblings lww", inOrder},
		{"status -o ", "table json raw", inOrder},
		{"export carts --siblings ", "error latest all", inOrder},
		{"bench --workload ", "a b c d e f w", inOrder},
		{"bench --distribution ", "zipfian uniform latest", inOrder},
		{"server --log-level ", "debug info warn error", inOrder},
		{"server --config ", "yaml yml", extensions},
		{"server --dir ", "", onlyDirs},
		{"export carts --file ", "", defaultFiles},
		{"get k -b ", buckets, noFiles},
		{"query ", buckets, noFiles},
		{"query carts ", "", noFiles},
		{"scan ", buckets, noFiles},
		{"export ", buckets, noFiles},
		{"bucket drop ", buckets, noFiles},
		{"bucket alter ", buckets, noFiles},
		{"bucket create ", "", noFiles},
		{"repair ", buckets, noFiles},
		{"verify ", buckets, noFiles},
		{"task ", "cancel list show wait", noFiles},
		{"import ", buckets, noFiles},
		{"import carts ", "", defaultFiles},
		{"import carts f ", "", noFiles},
		{"man ", "", onlyDirs},
		{"get ", "", noFiles},
		{"put k v --context ", "", noFiles},
		{"bucket ", "alter create drop list", noFiles},
		{"completion ", "bash fish powershell zsh", noFiles},
		{"sta", "status", noFiles},
	} {
		got, directive := c.completed(t, strings.Split(test.line, " ")...)
		text := strings.Join(got, " ")
		if strings.Contains(test.want, "|") {
			text = strings.Join(got, "|")
		}
		if text != test.want || directive != test.directive {
			t.Errorf("%q: %q %s, want %q %s", test.line, text, directive, test.want, test.directive)
		}
	}
}

// A cluster that doesn't answer holds nobody up, whatever --timeout says, and puts nothing on the line.
func TestCompletionWithoutACluster(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }() // nothing is left to lose
	for _, addr := range []string{"127.0.0.1:1", silent.Addr().String()} {
		start := time.Now()
		got, directive := cli{}.completed(t, "scan", "--timeout", "10m", "--addr", addr, "")
		if len(got) > 0 || directive != noFiles {
			t.Errorf("%q, %s", got, directive)
		}
		if took := time.Since(start); took > proctest.Patience {
			t.Errorf("it took %v", took)
		}
	}
}

// shells are those that can read a script without carrying it out.
var shells = []struct{ name, flag string }{{"bash", "-n"}, {"zsh", "-n"}, {"fish", "--no-execute"}, {"powershell", ""}}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range shells {
		for _, args := range [][]string{nil, {"--no-descriptions"}} {
			script := cli{}.must(t, append([]string{"completion", shell.name}, args...)...)
			if !strings.Contains(script, "__complete") {
				t.Errorf("%s: no script:\n%.200s", shell.name, script)
			}
			path, err := exec.LookPath(shell.name)
			if err != nil || shell.flag == "" {
				continue
			}
			check := exec.Command(path, shell.flag)
			check.Stdin = strings.NewReader(script)
			if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s: %v: %s", shell.name, err, out)
			}
		}
	}
}

// TestCompletionInBash completes words as bash does, by the script and the binary. What bash-completion adds to bash is
// done here, so that it need not be installed.
func TestCompletionInBash(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to ask")
	}
	binary, err := proctest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	const program = `
PATH="$1:$PATH"; shift
source <(starling completion bash)
_init_completion() {
  words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMP_TYPE=9
__start_starling starling 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
`
	cluster := kvfake.Start(t, 1)
	cli{cluster: cluster}.must(t, "bucket", "create", "carts")
	for line, want := range map[string]string{
		"starling hin":        "hints ",
		"starling get k -r q": "quorum ",
		"starling scan --addr=" + cluster.Addrs()[0] + " ca": "carts ",
	} {
		args := append([]string{"-c", program, "bash", filepath.Dir(binary)}, strings.Split(line, " ")...)
		out, err := exec.Command(bash, args...).CombinedOutput()
		got := strings.TrimSpace(string(out))
		if err != nil || got != strings.TrimSpace(want) {
			t.Errorf("%q becomes %q (%v), want %q", line, out, err, want)
		}
	}
}
