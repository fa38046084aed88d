package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// bareTree is the command tree as it is outside of any environment.
func bareTree() []*cobra.Command {
	return everyCommand(newApp(streams{out: &strings.Builder{}, err: &strings.Builder{}}).rootCommand())
}

// Every command says what it does, and shows how.
func TestHelp(t *testing.T) {
	for _, cmd := range bareTree() {
		path := cmd.CommandPath()
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s: a command needs Short, Long and Example", path)
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len(strings.TrimRight(line, "\n")) > 120 {
				t.Errorf("%s: a line of its help is longer than 120: %s", path, line)
			}
		}
		r := cli{}.run(t, append(strings.Fields(path)[1:], "--help")...)
		if r.code != exitDone || !strings.Contains(r.out, cmd.Example) || !strings.Contains(r.out, strings.TrimSpace(cmd.Long)) {
			t.Errorf("%s --help: exit %d: %s%s", path, r.code, r.out, r.errors)
		}
	}
}

// What the examples show can be typed: the commands are there, with these flags and so many arguments.
func TestExamples(t *testing.T) {
	for _, cmd := range bareTree() {
		lines := exampleCommands(cmd.Example)
		if len(lines) == 0 {
			t.Errorf("%s: no example is a command of this binary: %s", cmd.CommandPath(), cmd.Example)
		}
		for _, line := range lines {
			if err := typable(line); err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
			}
		}
	}
	for _, line := range []string{"starling frobnicate", "starling get", "starling get k --frobnicate", "starling get k --timeout soon"} {
		if typable(strings.Fields(line)) == nil {
			t.Errorf("%s can be typed", line)
		}
	}
}

// typable says what is wrong with a command line.
func typable(line []string) error {
	root := newApp(streams{out: &strings.Builder{}, err: &strings.Builder{}}).rootCommand()
	cmd, rest, err := root.Find(line[1:])
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// continued is where a command goes on in the next line.
var continued = regexp.MustCompile(`\s*\\\n\s*`)

// exampleCommands finds the commands of this binary in a help text: whole lines, and parts of what a shell would put
// together. Three spaces end a command and begin what is said of it.
func exampleCommands(text string) (found [][]string) {
	for line := range strings.Lines(continued.ReplaceAllString(text, " ")) {
		quoted, part := false, ""
		add := func() {
			part, _, _ = strings.Cut(strings.TrimSpace(part), "   ")
			if strings.HasPrefix(part, "starling ") {
				found = append(found, words(part))
			}
			part = ""
		}
		redirected := false
		for _, r := range strings.TrimSpace(line) {
			quoted = quoted != (r == '\'')
			switch {
			case !quoted && strings.ContainsRune("|&;()", r):
				add()
				redirected = false
			case !quoted && (r == '<' || r == '>'):
				redirected = true
			case !redirected:
				part += string(r)
			}
		}
		add()
	}
	return found
}

func TestExampleCommands(t *testing.T) {
	for text, want := range map[string]string{
		"  starling get k -o raw | head -c -1 > f":   `[[starling get k -o raw]]`,
		"  source <(starling completion bash)":       `[[starling completion bash]]`,
		"  starling put k '{\"a\": 1} > b' -w all":   `[[starling put k {"a": 1} > b -w all]]`,
		"  starling put k - < f":                     `[[starling put k -]]`,
		"  starling tour       see\n starling dev":   `[[starling tour] [starling dev]]`,
		"  starling server --name b \\\n    --dir d": `[[starling server --name b --dir d]]`,
		"  starling man d && man ./d/f":              `[[starling man d]]`,
		"  other":                                    `[]`,
	} {
		if got := fmt.Sprint(exampleCommands(text)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// The help of the root command lists every exit code.
func TestExitCodesInHelp(t *testing.T) {
	help := cli{}.must(t, "--help")
	if len(exitMeanings) != exitProblem+1 {
		t.Errorf("%d exit codes", len(exitMeanings))
	}
	for code, meaning := range exitMeanings {
		if meaning == "" || !strings.Contains(help, fmt.Sprintf("\n    %d  %s\n", code, meaning)) {
			t.Errorf("exit code %d (%s) is not in the help", code, meaning)
		}
	}
}

// TestMan writes a page for each command, the same ones whoever does it and where.
func TestMan(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir, again := filepath.Join(t.TempDir(), "man", "man1"), t.TempDir()
	cli{}.must(t, "man", dir)
	cli{environ: []string{"STARLING_ADDR=elsewhere:1", "STARLING_HTTP_ADDR=elsewhere:2"}}.must(t, "man", again)
	var pages []string
	for _, cmd := range bareTree() {
		page := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		pages = append(pages, page)
		text, err := os.ReadFile(filepath.Join(dir, page))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{".TH", "Nov 2023", ".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLE"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %s", page, want)
			}
		}
		other, err := os.ReadFile(filepath.Join(again, page))
		if err != nil || string(other) != string(text) {
			t.Errorf("%s depends on the environment (%v)", page, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !slices.Contains(pages, entry.Name()) {
			t.Errorf("a page for no command: %s", entry.Name())
		}
	}
	if groff, err := exec.LookPath("groff"); err == nil {
		if out, err := exec.Command(groff, "-man", "-ww", "-z", "-T", "utf8", filepath.Join(dir, "starling-server.1")).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("groff: %v: %s", err, out)
		}
	}
}

func TestManWithoutADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := (cli{}).run(t, "man", file); r.code != exitFailed || !strings.Contains(r.errors, file) {
		t.Errorf("exit %d: %s", r.code, r.errors)
	}
}
