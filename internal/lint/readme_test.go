package lint

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// The page that everybody reads first, and the program in it, which CI builds and runs.
const (
	readmePage    = "README.md"
	readmeProgram = "examples/readme/main.go"
	// maxReadmeLines keeps the program one that is read.
	maxReadmeLines = 30
)

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// TestReadmeProgram holds the Go program of the README to the one that is built and run.
func TestReadmeProgram(t *testing.T) {
	for _, fault := range checkReadme(os.DirFS("../..")) {
		t.Error(fault)
	}
}

func checkReadme(fsys fs.FS) (faults []string) {
	page, err := fs.ReadFile(fsys, readmePage)
	if err != nil {
		return []string{err.Error()}
	}
	program, err := fs.ReadFile(fsys, readmeProgram)
	if err != nil {
		return []string{err.Error()}
	}
	blocks := goBlock.FindAllSubmatch(page, -1)
	if len(blocks) != 1 {
		return []string{readmePage + ": want one Go program, that of " + readmeProgram}
	}
	if string(blocks[0][1]) != string(program) {
		faults = append(faults, readmePage+": its Go program is not "+readmeProgram+", byte for byte")
	}
	if strings.Count(string(program), "\n") > maxReadmeLines {
		faults = append(faults, readmeProgram+": too long for a program of the README")
	}
	return faults
}

// TestCheckReadme shows the rule pages that break it, and one that doesn't.
func TestCheckReadme(t *testing.T) {
	const program = "package main\n\nfunc main() {}\n"
	long := strings.Repeat("// more\n", maxReadmeLines) + program
	for _, c := range []struct{ name, page, program, want string }{
		{"the same", "# A\n```go\n" + program + "```\nmore\n```sh\nls\n```\n", program, ""},
		{"another", "```go\n" + program + "\n```\n", program, "byte for byte"},
		{"none", "```sh\nls\n```\n", program, "want one"},
		{"two", strings.Repeat("```go\n"+program+"```\n", 2), program, "want one"},
		{"long", "```go\n" + long + "```\n", long, "too long"},
	} {
		got := strings.Join(checkReadme(fstest.MapFS{
			readmePage: {Data: []byte(c.page)}, readmeProgram: {Data: []byte(c.program)},
		}), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if len(checkReadme(fstest.MapFS{})) == 0 {
		t.Error("no page is no fault")
	}
}
