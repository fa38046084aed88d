package main

import (
	"crypto/sha256"
	enchex "encoding/hex"
	"fmt"
	"io"
	"time"
)

// headBytes is how much of an input is hashed to know it again.
const headBytes = 64 << 10

// importState is how far an import came, and of what.
type importState struct {
	// Cluster is the id of the cluster, in hex: what one holds another may lack.
	Cluster string    `json:"cluster_id"`
	Bucket  string    `json:"bucket"`
	Fields  keyFields `json:"fields"`
	// Size, Modified and Head tell one input from another.
	Size     int64  `json:"input_bytes"`
	Modified string `json:"input_modified"`
	Head     string `json:"input_head_sha256"`
	// Line and Offset: all lines up to this one are settled, and end at this byte.
	Line   int   `json:"line"`
	Offset int64 `json:"offset"`
}

// resume finds out where to begin: at the top, unless the state file tells of this very import.
func (in *input) resume(a *app, f *importFlags) error {
	info, err := in.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		in.state.path = "" // a pipe can't be positioned
		return nil
	}
	head, err := io.ReadAll(io.NewSectionReader(in.file, 0, headBytes))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(head)
	in.saved = importState{
		Cluster: f.cluster, Bucket: f.call.bucket, Fields: f.fields, Size: info.Size(),
		Modified: info.ModTime().UTC().Format(time.RFC3339Nano), Head: enchex.EncodeToString(sum[:]),
	}
	var old importState
	found, err := in.state.load(&old)
	if err != nil || !found {
		return err
	}
	same := old
	same.Line, same.Offset = 0, 0
	if same != in.saved || old.Line < 0 || old.Offset < 0 || old.Offset > old.Size {
		a.note("%s is of another import: starting with the first line.", in.state.path)
		return nil
	}
	if _, err := in.file.Seek(old.Offset, io.SeekStart); err != nil {
		return fmt.Errorf("go on behind line %d: %w", old.Line, err)
	}
	in.line, in.offset = old.Line, old.Offset
	return nil
}

// saveState keeps the position, if there is a place for it.
func (in *input) saveState(line int, offset int64) error {
	if in.state.path == "" {
		return nil
	}
	state := in.saved
	state.Line, state.Offset = line, offset
	return in.state.save(state)
}

func (in *input) removeState() error {
	if in.state.path == "" {
		return nil
	}
	return in.state.remove()
}
