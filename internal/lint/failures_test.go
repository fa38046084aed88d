package lint

import (
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// The page that says which test shows which failure of other stores, and where the bugs that we plant are listed.
const (
	failuresPage = "docs/failures.md"
	plantedBugs  = "internal/sim/planted/bugs.go"
)

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	linked = regexp.MustCompile(`\]\(([^)#]+)(?:#([^)]*))?\)`)
	words  = regexp.MustCompile(`[^a-z0-9 -]`)
)

// TestFailures holds the page to what there is: the tests that it names are in the packages that it names them of, and
// every row of a table names a test, or links to where the reason is.
func TestFailures(t *testing.T) {
	root := os.DirFS("../..")
	sources, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range checkFailures(root, sources) {
		t.Error(fault)
	}
}

// checkFailures reports what is wrong with the page. The last column of a table says where a thing is shown: a package
// in backquotes, then its tests and its files of testdata; planted bugs as planted/NAME.
func checkFailures(fsys fs.FS, sources []source) (faults []string) {
	text, err := fs.ReadFile(fsys, failuresPage)
	if err != nil {
		return []string{err.Error()}
	}
	bugs, err := fs.ReadFile(fsys, plantedBugs)
	if err != nil {
		return []string{err.Error()}
	}
	tests := testsOf(sources)
	rows := 0
	for n, line := range strings.Split(string(text), "\n") {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Sprintf("%s:%d: %s", failuresPage, n+1, fmt.Sprintf(format, args...)))
		}
		links := linked.FindAllStringSubmatch(line, -1)
		for _, l := range links {
			if err := checkLink(fsys, l[1], l[2]); err != nil {
				fault("%v", err)
			}
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || cells[0] == "what happened elsewhere" || strings.HasPrefix(cells[0], "---") {
			continue
		}
		rows++
		if len(cells) != 3 {
			fault("%d columns, want 3", len(cells))
		}
		dir, shown := "", len(links)
		for _, q := range quoted.FindAllStringSubmatch(cells[len(cells)-1], -1) {
			name := q[1]
			bug, planted := strings.CutPrefix(name, "planted/")
			switch {
			case planted:
				if !strings.Contains(string(bugs), `Name: "`+bug+`"`) {
					fault("no bug %s is planted", bug)
				}
			case strings.HasPrefix(name, "Test"):
				shown++
				if !slices.Contains(tests[dir], name) {
					fault("package %q has no test %s", dir, name)
				}
			case strings.HasSuffix(name, ".txt"):
				if _, err := fs.Stat(fsys, path.Join(dir, "testdata", name)); err != nil {
					fault("%v", err)
				}
			default:
				if dir = name; tests[dir] == nil {
					fault("no package %s has tests", dir)
				}
			}
		}
		if shown == 0 {
			fault("the row names neither a test nor a page")
		}
	}
	if rows == 0 {
		faults = append(faults, failuresPage+": no rows")
	}
	return faults
}

// testsOf lists the tests of each directory.
func testsOf(sources []source) map[string][]string {
	tests := map[string][]string{}
	for _, s := range sources {
		if !s.test() {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				tests[s.dir()] = append(tests[s.dir()], f.Name.Name)
			}
		}
	}
	return tests
}

// checkLink looks for the file that the page links to, and for the heading in it.
func checkLink(fsys fs.FS, target, heading string) error {
	name := path.Join(path.Dir(failuresPage), target)
	text, err := fs.ReadFile(fsys, name)
	if err != nil || heading == "" {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			anchor := words.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			if strings.ReplaceAll(anchor, " ", "-") == heading {
				return nil
			}
		}
	}
	return fmt.Errorf("%s has no heading #%s", name, heading)
}

// TestFailuresHasTeeth shows the check pages with one fault each.
func TestFailuresHasTeeth(t *testing.T) {
	const head = "| what happened elsewhere | what we do | where it is shown |\n| --- | --- | --- |\n"
	for _, c := range []struct{ page, want string }{
		{head + "| a | b | `ring`: `TestThere` (`a.txt`), `planted/bug` |", ""},
		{head + "| a | b | can't happen: [why](why.md#the-reason-is-this) |", ""},
		{head + "| a | b | `ring`: `TestGone` |", `package "ring" has no test TestGone`},
		{head + "| a | b | `causal`: `TestThere` |", "no package causal has tests"},
		{head + "| a | b | `ring`: `TestThere` (`b.txt`) |", "b.txt"},
		{head + "| a | b | `ring`: `TestThere`, `planted/moth` |", "no bug moth is planted"},
		{head + "| a | b | take our word |", "neither a test nor a page"},
		{head + "| a | b | [why](nowhere.md) |", "nowhere.md"},
		{head + "| a | b | [why](why.md#because) |", "no heading #because"},
		{head + "| a | `ring`: `TestThere` |", "2 columns, want 3"},
		{"nothing", "no rows"},
	} {
		fsys := fstest.MapFS{
			failuresPage:          {Data: []byte(c.page)},
			"docs/why.md":         {Data: []byte("# Why\n\n## The reason is: this!\n")},
			plantedBugs:           {Data: []byte("package planted\n\nvar Bugs = []struct{ Name string }{\n\t{Name: \"bug\"},\n}\n")},
			"ring/a_test.go":      {Data: []byte("package ring\n\nfunc TestThere() {}\n")},
			"ring/testdata/a.txt": {},
		}
		sources, err := load(fsys)
		if err != nil {
			t.Fatal(err)
		}
		faults := strings.Join(checkFailures(fsys, sources), "\n")
		if c.want == "" && faults != "" || c.want != "" && !strings.Contains(faults, c.want) {
			t.Errorf("%q: got %q, want %q", c.page, faults, c.want)
		}
	}
}
