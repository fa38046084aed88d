package chaos

import (
	"compress/gzip"
	"errors"
	"fmt"
	"os"

	"github.com/starling-db/starling/internal/history"
)

// WriteFile keeps a history, packed by gzip.
func WriteFile(path string, run *history.Run) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	packed := gzip.NewWriter(file)
	defer func() { err = errors.Join(err, packed.Close()) }()
	return history.Write(packed, run)
}

// ReadFile reads what WriteFile has written.
func ReadFile(path string) (*history.Run, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	packed, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	run, err := history.ReadRun(packed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return run, nil
}
