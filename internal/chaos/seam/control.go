package seam

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds one line of settings.
const maxLine = 1 << 20

// applied answers each line of settings.
const applied = "applied"

// Serve takes settings from a pipe, a line of JSON each, answers each when it is in force, and returns nil when the pipe
// ends. Once, if not nil, is called after the first.
func (s *Seams) Serve(from io.Reader, answers io.Writer, once func()) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var to Settings
		if err := json.Unmarshal(lines.Bytes(), &to); err != nil {
			return fmt.Errorf("settings: %w", err)
		}
		s.Set(to)
		if _, err := fmt.Fprintln(answers, applied); err != nil {
			return err
		}
		if once != nil {
			once()
			once = nil
		}
	}
	return lines.Err()
}

// Send writes settings for Serve.
func Send(to io.Writer, s Settings) error {
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = to.Write(append(line, '\n'))
	return err
}

// Applied says whether a line is Serve's answer.
func Applied(line string) bool { return strings.TrimSpace(line) == applied }
