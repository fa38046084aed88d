package main

import (
	"bufio"
	"strings"
	"unicode/utf8"
)

// table is aligned columns under a header. It may be written in parts: columns only get wider.
type table struct {
	header []string
	rows   [][]string
	widths []int
	// right are the columns, by index, that are aligned to the right.
	right map[int]bool
	// begun: the header is written.
	begun bool
}

func newTable(header ...string) *table {
	return &table{header: header, widths: make([]int, len(header)), right: make(map[int]bool)}
}

// numeric aligns columns to the right.
func (t *table) numeric(columns ...int) *table {
	for _, c := range columns {
		t.right[c] = true
	}
	return t
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write writes the rows added since the last time, the first time below the header; nothing when there
// are none. style, if any, dresses up a padded cell without changing its width; rows count from the first of those written.
func (t *table) write(w *bufio.Writer, style func(row, column int, cell string) string) {
	if len(t.rows) == 0 {
		return
	}
	lines, first := t.rows, 0
	if !t.begun {
		lines, first = append([][]string{t.header}, t.rows...), 1
	}
	for _, row := range lines {
		for i, cell := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
	for at, row := range lines {
		var styleRow func(column int, cell string) string
		if style != nil && at >= first {
			styleRow = func(column int, cell string) string { return style(at-first, column, cell) }
		}
		// A failed write shows when the writer is flushed.
		_, _ = w.WriteString(t.line(row, styleRow) + "\n")
	}
	t.rows, t.begun = nil, true
}

func (t *table) line(row []string, style func(column int, cell string) string) string {
	var b strings.Builder
	for i, cell := range row {
		fill := strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell))
		padded := cell + fill
		if t.right[i] {
			padded = fill + cell
		}
		if style != nil {
			padded = style(i, padded)
		}
		if i > 0 {
			b.WriteString("  ")
		}
		b.WriteString(padded)
	}
	return strings.TrimRight(b.String(), " ")
}
