package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
)

const schema = `
// What the file is about.
syntax = "proto3";
package a.b;

// Door opens.
//
// Bounds:
//   - one thing,
//     on two lines;
//   - another.
service Door {
  // Open opens it. a < b.
  rpc Open(Key) returns (stream Key);
}

// Key fits.
message Key {
  // A | B,
  // two lines.
  bytes teeth = 1;
  optional uint32 size = 2;
  repeated Key others = 3;
  map<string, Inner> by_name = 4;
  oneof metal {
    // Shiny.
    Kind gold = 5;
  }
  message Inner {}
  enum Kind {
    // Nothing is said.
    NONE = 0;
  }
}
`

const want = `
- [door.proto](#doorproto): What the file is about.

## door.proto

What the file is about.

### Service Door

Door opens.

Bounds:

  - one thing,
    on two lines;
  - another.

#### Door.Open

Open([Key](#key)) returns (stream [Key](#key))

Open opens it. a &lt; b.

### Key

Key fits.

| field | type | number | meaning |
| --- | --- | --- | --- |
| ¬teeth¬ | bytes | 1 | A \| B, two lines. |
| ¬size¬ | optional uint32 | 2 |  |
| ¬others¬ | repeated [Key](#key) | 3 |  |
| ¬by_name¬ | map of string to [Key.Inner](#keyinner) | 4 |  |
| ¬gold¬ | [Key.Kind](#keykind), one of ¬metal¬ | 5 | Shiny. |

### Key.Inner

### Key.Kind

| name | number | meaning |
| --- | --- | --- |
| ¬NONE¬ | 0 | Nothing is said. |
`

func TestPage(t *testing.T) {
	compiler := protocompile.Compiler{
		SourceInfoMode: protocompile.SourceInfoStandard,
		Resolver: &protocompile.SourceResolver{
			Accessor: protocompile.SourceAccessorFromMap(map[string]string{"x/door.proto": schema}),
		},
	}
	files, err := compiler.Compile(context.Background(), "x/door.proto")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.TrimPrefix(string(page(files)), strings.TrimSuffix(preamble, "\n"))
	if want := strings.ReplaceAll(want, "¬", "`"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// The page in docs is that of the files, and its links lead somewhere.
func TestPageOfRepository(t *testing.T) {
	sources, err := protoFiles("../../proto")
	if err != nil {
		t.Fatal(err)
	}
	files, err := compile("../../proto", sources)
	if err != nil {
		t.Fatal(err)
	}
	made := page(files)
	have, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, made) {
		t.Error("docs/api.md is out of date: run go generate ./proto")
	}
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(made), -1) {
		name := strings.ToLower(strings.NewReplacer(".", "", " ", "-").Replace(heading[1]))
		if anchors[name] {
			t.Errorf("two headings are called %s", heading[1])
		}
		anchors[name] = true
	}
	links := regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(string(made), -1)
	for _, link := range links {
		if !anchors[link[1]] {
			t.Errorf("no heading #%s", link[1])
		}
	}
	if len(links) < 100 {
		t.Errorf("%d links", len(links))
	}
}
