package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// manual is the page for those who run nodes.
const manual = "../../docs/operations.md"

var (
	settingRow  = regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| `([A-Z_]+)` \\| (none|`[^`]+`) \\| [^|]+ \\|$")
	yamlExample = regexp.MustCompile("(?s)```yaml\n(.*?)```")
)

// TestSettingsAreDocumented holds the manual's table to the settings that there are: all of them, in the order of the help
// text, with their variables and defaults.
func TestSettingsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	var want, got [][]string
	for _, pair := range Default().Text() {
		value := "none"
		if pair[1] != "" {
			value = "`" + pair[1] + "`"
		}
		want = append(want, []string{pair[0], envName(pair[0]), value})
	}
	for _, row := range settingRow.FindAllStringSubmatch(string(page), -1) {
		got = append(got, row[1:])
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the table of %s has\n%q\nwant\n%q", manual, got, want)
	}
}

// TestManualExamples loads the configuration files that the manual shows.
func TestManualExamples(t *testing.T) {
	page, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	examples := yamlExample.FindAllSubmatch(page, -1)
	if len(examples) == 0 {
		t.Fatalf("%s shows no file", manual)
	}
	for _, e := range examples {
		path := filepath.Join(t.TempDir(), "starling.yaml")
		if err := os.WriteFile(path, e[1], 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Load(nil, nil, path); err != nil || len(c.Join) == 0 {
			t.Errorf("%+v, %v, from\n%s", c, err, e[1])
		}
	}
}
