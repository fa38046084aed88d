// Package lint holds the rules of this repository that a compiler does not know, as tests: which
// package may import which, and a few habits that we do without. Files are read whatever their build
// tags, so that none hides from the rules.
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/starling-db/starling"

// layer is a package, or a tree of packages, and what it may import of ours. A tree's packages may
// import one another.
type layer struct {
	dir   string
	floor int
	may   []string
}

// layers is the map of the repository. Imports point down: may names layers of lower floors only,
// but for the one exception that TestLayers knows.
var layers = []layer{
	{"proto", 0, nil},
	{"causal", 0, nil},
	{"ring", 0, nil},
	{"coordinator/quorum", 0, []string{"causal"}},
	{"antientropy/merkle", 0, nil},
	{"internal/pace", 0, nil},
	{"internal/task", 0, nil},
	{"internal/loopback", 0, nil},
	{"internal/spawn", 0, nil},
	{"internal/workers", 0, nil},
	{"internal/heap", 0, nil},
	{"internal/frames", 0, nil},
	{"internal/bench", 0, nil},
	{"storage", 1, []string{"causal", "antientropy/merkle"}},
	{"internal/transport", 1, []string{"proto", "internal/frames", "internal/workers"}},
	{"internal/paxos", 1, []string{"ring"}},
	{"coordinator", 2, []string{"coordinator/quorum", "ring", "causal"}},
	{"hinted", 2, []string{"storage", "causal", "ring"}},
	{"antientropy/model", 1, []string{"causal"}},
	{"antientropy", 2, []string{"antientropy/merkle", "storage", "ring", "causal"}},
	{"transfer", 2, []string{"storage", "causal", "ring"}},
	{"node", 3, []string{
		"proto", "causal", "ring", "coordinator/quorum", "antientropy/merkle", "storage", "internal/transport",
		"internal/pace", "internal/paxos", "internal/task", "internal/workers", "internal/frames", "coordinator", "hinted", "antientropy",
		"transfer",
	}},
	{"client", 3, []string{"proto", "ring", "causal", "internal/pace", "internal/frames"}},
	{"cmd/starling", 4, []string{"node", "client", "internal/bench", "internal/heap", "internal/loopback", "internal/spawn"}},
	{"examples", 4, []string{"client"}},
	{"internal/sim", 4, []string{"node", "client", "causal", "ring", "storage", "proto"}},
	{"internal/bench/floor", 4, []string{"internal/bench", "internal/spawn"}},
	{"internal/bench/suite", 4, []string{"internal/bench", "internal/loopback", "internal/spawn"}},
	{"internal/chaos", 4, []string{"node", "client", "causal", "ring", "storage", "proto", "internal/loopback", "internal/spawn"}},
}

// helpers serve tests, each with what is below it: only tests, other helpers, the simulation and the chaos runner
// import them. client/clienttest is the one that users import as well.
var helpers = []string{
	"client/clienttest", "internal/check", "internal/gossipnet", "internal/history", "internal/kvfake", "internal/proctest", "internal/testcluster",
}

// tools stand outside the floors: nothing imports them.
var tools = []string{"internal/protogen", "internal/lint"}

// keepers names who may import a dependency, or a part of it. Tests and helpers may in any case.
var keepers = []struct {
	dependency string
	dirs       []string
}{
	{"github.com/cockroachdb/pebble/v2/vfs", []string{"storage", "node"}},          // node hands the file system through
	{"github.com/cockroachdb/pebble", []string{"storage", "internal/bench/floor"}}, // which measures it alone
	{"github.com/hashicorp/memberlist", []string{"node/membership", "node"}},       // node hands the transport through
}

// pure packages see no clock, randomness, file or network but what their callers hand in.
var pure = []string{"causal", "ring", "coordinator/quorum", "antientropy/merkle", "internal/paxos"}

// source is one parsed file.
type source struct {
	name string // slash-separated, relative to the root of the module
	file *ast.File
}

func (s source) dir() string { return path.Dir(s.name) }
func (s source) test() bool  { return strings.HasSuffix(s.name, "_test.go") }

// load parses all Go files of a module.
func load(fsys fs.FS) ([]source, error) {
	var sources []source
	files := token.NewFileSet()
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := path.Base(name); entry.IsDir() && name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata") {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
		sources = append(sources, source{name, file})
		return err
	})
	return sources, err
}

// layerOf finds the most specific layer that a directory is in.
func layerOf(dir string) (found layer, ok bool) {
	for _, l := range layers {
		if within(dir, l.dir) && len(l.dir) > len(found.dir) {
			found, ok = l, true
		}
	}
	return found, ok
}

// rigged says whether a package runs clusters under faults, and so stands between nodes and their disk and network.
func rigged(dir string) bool { return within(dir, "internal/sim") || within(dir, "internal/chaos") }

func isHelper(dir string) bool {
	return slices.ContainsFunc(helpers, func(tree string) bool { return within(dir, tree) })
}

func within(dir, tree string) bool { return dir == tree || strings.HasPrefix(dir, tree+"/") }

func importsOf(s source) []string {
	var out []string
	for _, spec := range s.file.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// checkFloors reports imports of ours that the map does not allow. A test may import, besides what
// its package may, helpers and whatever is not on a higher floor.
func checkFloors(s source) (faults []string) {
	from, known := layerOf(s.dir())
	helper, tool := isHelper(s.dir()), slices.Contains(tools, s.dir())
	if !known && !helper && !tool {
		return []string{fmt.Sprintf("%s: package %s is on no floor; add it to the map in internal/lint", s.name, s.dir())}
	}
	for _, name := range importsOf(s) {
		dir, ours := strings.CutPrefix(name, module+"/")
		if !ours {
			continue
		}
		to, known := layerOf(dir)
		ok := known && (to.dir == from.dir || slices.Contains(from.may, to.dir))
		switch {
		case slices.Contains(tools, dir):
			ok = false
		case isHelper(dir):
			ok = s.test() || helper || rigged(from.dir)
		case helper || tool:
			ok = known
		case s.test():
			ok = ok || known && to.floor <= from.floor
		}
		if !ok {
			faults = append(faults, fmt.Sprintf("%s: %s may not import %s: see the floors in internal/lint", s.name, s.dir(), dir))
		}
	}
	return faults
}

// checkKeepers reports uses of a dependency outside the packages that keep it to themselves.
func checkKeepers(s source) (faults []string) {
	for _, name := range importsOf(s) {
		for _, k := range keepers {
			if !within(name, k.dependency) {
				continue
			}
			if !s.test() && !isHelper(s.dir()) && !rigged(s.dir()) && !slices.Contains(k.dirs, s.dir()) {
				faults = append(faults, fmt.Sprintf("%s: only %v may import %s", s.name, k.dirs, name))
			}
			break
		}
	}
	return faults
}

// checkName reports packages whose names say nothing.
func checkName(s source) []string {
	for _, bad := range []string{"util", "utils", "common", "helper", "helpers", "misc"} {
		if strings.TrimSuffix(s.file.Name.Name, "_test") == bad || path.Base(s.dir()) == bad {
			return []string{fmt.Sprintf("%s: a package called %s: name it after what it owns", s.name, bad)}
		}
	}
	return nil
}

// checkPanics reports code that was left for later.
func checkPanics(s source) (faults []string) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if name, ok := call.Fun.(*ast.Ident); !ok || name.Name != "panic" {
			return true
		}
		ast.Inspect(call, func(n ast.Node) bool {
			text, ok := n.(*ast.BasicLit)
			for _, bad := range []string{"todo", "fixme", "implement"} {
				if ok && text.Kind == token.STRING && strings.Contains(strings.ToLower(text.Value), bad) {
					faults = append(faults, fmt.Sprintf("%s: panic(%s)", s.name, text.Value))
				}
			}
			return true
		})
		return true
	})
	return faults
}

// checkPure reports, in pure packages, packages that bring in the outside, and the clock anywhere
// but in constructors, which may make it a default.
func checkPure(s source) (faults []string) {
	if !slices.Contains(pure, s.dir()) || s.test() {
		return nil
	}
	for _, name := range importsOf(s) {
		if slices.Contains([]string{"os", "net", "crypto/rand", "math/rand", "math/rand/v2"}, name) {
			faults = append(faults, fmt.Sprintf("%s: a pure package that imports %s: take it from the caller", s.name, name))
		}
	}
	for _, decl := range s.file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && (strings.HasPrefix(f.Name.Name, "New") || f.Name.Name == "EnsureDefaults") {
			continue
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
			if ok && x.Name == "time" && slices.Contains(clock, sel.Sel.Name) {
				faults = append(faults, fmt.Sprintf("%s: time.%s in a pure package: take the time from the caller", s.name, sel.Sel.Name))
			}
			return true
		})
	}
	return faults
}

var checks = []struct {
	name  string
	check func(source) []string
}{
	{"floors", checkFloors},
	{"keepers", checkKeepers},
	{"names", checkName},
	{"panics", checkPanics},
	{"pure", checkPure},
}

// TestLint holds the whole repository against the rules.
func TestLint(t *testing.T) {
	sources, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 2 {
		t.Fatalf("found %d files: not the root of the module?", len(sources))
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range sources {
				for _, fault := range c.check(s) {
					t.Error(fault)
				}
			}
		})
	}
}

// TestLayers holds the map against itself: what a layer may import lies on a lower floor.
func TestLayers(t *testing.T) {
	for _, from := range layers {
		for _, name := range from.may {
			i := slices.IndexFunc(layers, func(l layer) bool { return l.dir == name })
			if i < 0 {
				t.Errorf("%s may import %s, which is no layer", from.dir, name)
				continue
			}
			sideways := from.dir == "coordinator/quorum" && name == "causal" // its tallies compare causal's digests
			if layers[i].floor >= from.floor && !sideways {
				t.Errorf("%s (floor %d) may import %s (floor %d)", from.dir, from.floor, name, layers[i].floor)
			}
		}
	}
}

// TestChecks shows each rule a file that breaks it and one that does not.
func TestChecks(t *testing.T) {
	for _, c := range []struct{ rule, name, text, want string }{
		{"floors", "ring/a.go", `package ring; import "github.com/starling-db/starling/storage"`, "ring may not import storage"},
		{"floors", "ring/a_test.go", `package ring; import "github.com/starling-db/starling/storage"`, "ring may not import storage"},
		{"floors", "ring/a_test.go", `package ring; import "github.com/starling-db/starling/causal"`, ""},
		{"floors", "ring/a.go", `package ring; import "github.com/starling-db/starling/causal"`, "ring may not import causal"},
		{"floors", "client/a.go", `package client; import "github.com/starling-db/starling/node/state"`, "client may not import node/state"},
		{"floors", "node/a.go", `package node; import "github.com/starling-db/starling/node/state"`, ""},
		{"floors", "node/a.go", `package node; import "github.com/starling-db/starling/proto/starling/v1"`, ""},
		{"floors", "node/a.go", `package node; import "github.com/starling-db/starling/internal/kvfake"`, "node may not import internal/kvfake"},
		{"floors", "node/a_test.go", `package node; import "github.com/starling-db/starling/internal/kvfake"`, ""},
		{"floors", "node/a_test.go", `package node; import "github.com/starling-db/starling/internal/lint"`, "node may not import internal/lint"},
		{"floors", "new/a.go", `package new`, "on no floor"},
		{"keepers", "hinted/a.go", `package hinted; import "github.com/cockroachdb/pebble/v2"`, "only [storage internal/bench/floor]"},
		{"keepers", "node/a.go", `package node; import "github.com/cockroachdb/pebble/v2/vfs"`, ""},
		{"keepers", "node/a.go", `package node; import "github.com/cockroachdb/pebble/v2"`, "only [storage internal/bench/floor]"},
		{"keepers", "hinted/a_test.go", `package hinted; import "github.com/cockroachdb/pebble/v2/vfs"`, ""},
		{"keepers", "internal/gossipnet/a.go", `package gossipnet; import "github.com/hashicorp/memberlist"`, ""},
		{"keepers", "client/a.go", `package client; import "github.com/hashicorp/memberlist"`, "node/membership"},
		{"names", "internal/util/a.go", `package things`, "called util"},
		{"names", "ring/a.go", `package helpers`, "called helpers"},
		{"panics", "ring/a.go", `package ring; func f() { panic("TODO: the rest") }`, "panic("},
		{"panics", "ring/a.go", `package ring; func f(err error) { panic(err) }`, ""},
		{"pure", "causal/a.go", `package causal; import "time"; func f() int64 { return time.Now().Unix() }`, "time.Now"},
		{"pure", "causal/a.go", `package causal; import "time"; func NewClock() func() time.Time { return time.Now }`, ""},
		{"pure", "causal/a.go", `package causal; import "crypto/rand"; var r = rand.Reader`, "crypto/rand"},
		{"pure", "storage/a.go", `package storage; import "time"; func f() int64 { return time.Now().Unix() }`, ""},
	} {
		sources, err := load(fstest.MapFS{c.name: {Data: []byte(c.text)}})
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		i := slices.IndexFunc(checks, func(have struct {
			name  string
			check func(source) []string
		}) bool {
			return have.name == c.rule
		})
		got := strings.Join(checks[i].check(sources[0]), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s: %q, want %q", c.name, c.text, got, c.want)
		}
	}
}
