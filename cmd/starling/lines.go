package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds a line of an import: no value can be larger than what a message to a node holds.
const maxLine = 64 << 20

// errLineTooLong is a line of more than maxLine bytes, which was skipped.
var errLineTooLong = fmt.Errorf("longer than %d bytes", maxLine)

// lines reads lines and counts them.
type lines struct {
	r *bufio.Reader
	// number is the number of the last line read, offset the number of bytes up to behind it.
	number int
	offset int64
	limit  int
}

// newLines starts behind so many lines and bytes, to which r is positioned.
func newLines(r io.Reader, number int, offset int64) *lines {
	return &lines{r: bufio.NewReaderSize(r, 1<<20), number: number, offset: offset, limit: maxLine}
}

// next returns the next line without its newline, in memory of its own; io.EOF behind the last one. After
// errLineTooLong it goes on with the next line.
func (l *lines) next() ([]byte, error) {
	var line []byte
	size := 0
	for {
		part, err := l.r.ReadSlice('\n')
		size += len(part)
		l.offset += int64(len(part))
		if size <= l.limit+1 {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && size == 0:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
		break
	}
	l.number++
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line, size = line[:n-1], size-1
	}
	if size > l.limit {
		return nil, errLineTooLong
	}
	return line, nil
}
