package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// operationsPage is for those who run nodes. A table whose first column is "it says" tells what to do about a message.
const operationsPage = "docs/operations.md"

// TestMessages holds the page to the code: whoever looks a message up there finds it as a node says it.
func TestMessages(t *testing.T) {
	root := os.DirFS("../..")
	sources, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range checkMessages(root, sources) {
		t.Error(fault)
	}
}

// checkMessages reports messages of the page of which a part is in no string of the code. "…" stands for what differs from
// case to case.
func checkMessages(fsys fs.FS, sources []source) (faults []string) {
	text, err := fs.ReadFile(fsys, operationsPage)
	if err != nil {
		return []string{err.Error()}
	}
	said := messages(sources)
	rows, within := 0, false
	for n, line := range strings.Split(string(text), "\n") {
		first, _, row := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if within = row && (within || first == "it says"); !within {
			continue
		}
		rows++
		for _, q := range quoted.FindAllStringSubmatch(first, -1) {
			for part := range strings.SplitSeq(q[1], "…") {
				if !strings.Contains(said, strings.TrimSpace(part)) {
					faults = append(faults, fmt.Sprintf("%s:%d: nothing says %q", operationsPage, n+1, part))
				}
			}
		}
	}
	if rows == 0 {
		faults = append(faults, operationsPage+": no table of messages")
	}
	return faults
}

// messages are all strings of the product, a line each.
func messages(sources []source) string {
	var all strings.Builder
	for _, s := range sources {
		if s.test() || strings.HasPrefix(s.name, "internal/") && !strings.HasPrefix(s.name, "internal/transport/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					all.WriteString(text + "\n")
				}
			}
			return true
		})
	}
	return all.String()
}

// TestMessagesHasTeeth shows the check pages with one fault each.
func TestMessagesHasTeeth(t *testing.T) {
	const head = "| it says | what to do |\n| --- | --- |\n"
	for _, c := range []struct{ page, want string }{
		{head + "| `the disk of … is full` | make room |\n\n| `table` | of other things |\n", ""},
		{head + "| `the disk of … is empty` | make room |", `:3: nothing says " is empty"`},
		{head + "| `the disc of … is full` | make room |", "nothing says"},
		{"| `x` | y |", "no table of messages"},
	} {
		fsys := fstest.MapFS{
			operationsPage: {Data: []byte(c.page)},
			"node/a.go":    {Data: []byte("package node\n\nvar full = \"the disk of %s is full\"\n")},
			"node/a_test.go": {
				Data: []byte("package node\n\nvar empty = \"the disk of %s is empty\"\n"),
			},
		}
		sources, err := load(fsys)
		if err != nil {
			t.Fatal(err)
		}
		faults := strings.Join(checkMessages(fsys, sources), "\n")
		if c.want == "" && faults != "" || c.want != "" && !strings.Contains(faults, c.want) {
			t.Errorf("%q: got %q, want %q", c.page, faults, c.want)
		}
	}
}
