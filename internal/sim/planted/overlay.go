package planted

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// switchesIn is where the package of switches is, as seen from the root of the module.
const switchesIn = "internal/planted"

const module = "github.com/starling-db/starling"

// Overlay writes copies of the source in root, with all bugs planted, to dir, and returns the name of the file that go
// build -overlay wants. It fails when the source has changed under an edit: then the edit must be brought up to date.
func Overlay(root, dir string) (string, error) {
	texts := map[string]string{}
	for _, e := range edits {
		text, ok := texts[e.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return "", err
			}
			text = importSwitches(string(b))
		}
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("%s has %d places instead of one where a bug can be planted; bring the edit in internal/sim/planted/bugs.go up to date:\n%s", e.file, n, e.old)
		}
		texts[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	texts[switchesIn+"/planted.go"] = switches
	replace := map[string]string{}
	for file, text := range texts {
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, file)] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}

// importSwitches adds an import behind the package clause. What a file does not use of it does no harm.
func importSwitches(text string) string {
	at := strings.Index(text, "\npackage ") + 1
	if strings.HasPrefix(text, "package ") {
		at = 0
	}
	end := at + strings.Index(text[at:], "\n") + 1
	return text[:end] + "\nimport \"" + module + "/" + switchesIn + "\"\n" + text[end:] + "\nvar _ = planted.Is\n"
}
