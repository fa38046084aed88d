package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// format and version begin every file. A reader refuses other versions: a history half understood would be judged
// wrong.
const (
	format  = "starling-history"
	version = 1
)

// line is one line of a file: the header first, then the operations in the order of End, then the finals, then what is
// known of the run as a whole. So a run can be written while it goes on.
type line struct {
	Format  string `json:"format,omitempty"`
	Version int    `json:"version,omitempty"`

	Op    *Op    `json:"op,omitempty"`
	Final *Final `json:"final,omitempty"`
	Run   *Run   `json:"run,omitempty"` // without operations and finals
}

// Writer writes a history as lines of JSON. Values must be valid UTF-8. It is not safe for concurrent use.
type Writer struct {
	out *bufio.Writer
	enc *json.Encoder
}

// NewWriter writes the header.
func NewWriter(w io.Writer) (*Writer, error) {
	out := bufio.NewWriter(w)
	f := &Writer{out: out, enc: json.NewEncoder(out)}
	return f, f.write(line{Format: format, Version: version})
}

func (w *Writer) write(l line) error {
	if err := w.enc.Encode(l); err != nil {
		return fmt.Errorf("write a history: %w", err)
	}
	return nil
}

// Op adds an operation.
func (w *Writer) Op(op *Op) error { return w.write(line{Op: op}) }

// Finish adds all of a run but its operations, which have been added one by one, and flushes.
func (w *Writer) Finish(run *Run) error {
	for i := range run.Finals {
		if err := w.write(line{Final: &run.Finals[i]}); err != nil {
			return err
		}
	}
	rest := *run
	rest.Ops, rest.Finals = nil, nil
	if err := w.write(line{Run: &rest}); err != nil {
		return err
	}
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("write a history: %w", err)
	}
	return nil
}

// Write writes a whole run.
func Write(w io.Writer, run *Run) error {
	f, err := NewWriter(w)
	if err != nil {
		return err
	}
	for i := range run.Ops {
		if err := f.Op(&run.Ops[i]); err != nil {
			return err
		}
	}
	return f.Finish(run)
}

// ErrTruncated says that a history ends before its last line.
var ErrTruncated = errors.New("the history is cut off: it has no last line")

// ReadRun reads what Write has written.
func ReadRun(r io.Reader) (*Run, error) {
	dec := json.NewDecoder(bufio.NewReader(r))
	var head line
	if err := dec.Decode(&head); err != nil {
		return nil, fmt.Errorf("read a history: line 1: %w", err)
	}
	if head.Format != format || head.Version != version {
		return nil, fmt.Errorf("read a history: line 1 says %q, version %d: want %q, version %d", head.Format, head.Version, format, version)
	}
	var ops []Op
	var finals []Final
	for n := 2; ; n++ {
		var l line
		err := dec.Decode(&l)
		switch {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read a history: after line %d: %w", n-1, ErrTruncated)
		case err != nil:
			return nil, fmt.Errorf("read a history: line %d: %w", n, err)
		case l.Op != nil:
			ops = append(ops, *l.Op)
		case l.Final != nil:
			finals = append(finals, *l.Final)
		case l.Run != nil:
			l.Run.Ops, l.Run.Finals = ops, finals
			return l.Run, nil
		default:
			return nil, fmt.Errorf("read a history: line %d is neither operation, final nor run", n)
		}
	}
}
