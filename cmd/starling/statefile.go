package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxStateFile bounds what is read as a state file.
const maxStateFile = 1 << 20

// stateFile keeps how far an import or an export has come, so that it can go on after an interruption.
type stateFile struct{ path string }

// load reads the state into v; found is false when there is none.
func (s stateFile) load(v any) (found bool, err error) {
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Size() > maxStateFile {
		return false, fmt.Errorf("%s: %d bytes: not a state file of starling", s.path, info.Size())
	}
	b, err := os.ReadFile(s.path)
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("%s: not a state file of starling (remove it to start over): %w", s.path, err)
	}
	return true, nil
}

// save replaces the state, whole or not at all.
func (s stateFile) save(v any) (err error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(append(b, '\n')); err != nil {
		_ = f.Close()
		return err
	}
	// Synced before the rename: an empty file under the final name would be worse than none.
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path)
}

// remove removes the state, if there is one.
func (s stateFile) remove() error {
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
