// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// Result prints what a command came to: the summary object, or the text that draw makes of the same value.
func (con *Console) Result(summary any, draw func(t *Table)) error {
	con.EndProgress()
	if con.JSON {
		return con.Object("summary", summary)
	}
	return con.draw(draw)
}

// List prints rows, one object a line, and the summary; or the text that draw makes of the rows.
func List[T any](con *Console, rows []T, summary any, draw func(t *Table)) error {
	con.EndProgress()
	if !con.JSON {
		return con.draw(draw)
	}
	for _, row := range rows {
		if err := con.Object("", row); err != nil {
			return err
		}
	}
	return con.Object("summary", summary)
}

func (con *Console) draw(draw func(t *Table)) error {
	w := con.Stdout
	if con.DataOut {
		w = con.Stderr
	}
	t := &Table{w: w}
	draw(t)
	t.flush()
	return t.err
}

// Object prints v as one line of JSON, with its message_type in front where kind is not empty.
func (con *Console) Object(kind string, v any) error { return writeObject(con.objects(), kind, v) }

func writeObject(w io.Writer, kind string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	line := b.Bytes()
	if kind != "" {
		comma := ","
		if bytes.HasPrefix(line, []byte("{}")) {
			comma = ""
		}
		line = append([]byte(`{"message_type":"`+kind+`"`+comma), line[1:]...)
	}
	if _, err := w.Write(line); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// Table prints aligned columns and lines of text between them. The first error stays.
type Table struct {
	w    io.Writer
	cols []string
	rows [][]string
	err  error
}

// Header begins a table.
func (t *Table) Header(cols ...string) {
	t.flush()
	t.cols = cols
}

// Row adds a line to the table: text is cleaned, numbers align to the right.
func (t *Table) Row(cells ...any) {
	words := make([]string, len(cells))
	for i, c := range cells {
		words[i] = Cell(c)
	}
	t.rows = append(t.rows, words)
}

// Line ends the table before it and prints a line of text.
func (t *Table) Line(format string, args ...any) {
	t.flush()
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, cleanLines(fmt.Sprintf(format, args...)))
	}
}

// flush prints the table begun by header.
func (t *Table) flush() {
	cols, rows := t.cols, t.rows
	t.cols, t.rows = nil, nil
	if cols == nil || t.err != nil {
		return
	}
	align := make([]tw.Align, len(cols))
	for i := range cols {
		align[i] = tw.AlignLeft
		if len(rows) > 0 && numeric(rows, i) {
			align[i] = tw.AlignRight
		}
	}
	var b strings.Builder
	w := tablewriter.NewTable(&b,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.BorderNone,
			Symbols: tw.NewSymbols(tw.StyleNone),
			Settings: tw.Settings{
				Separators: tw.Separators{BetweenColumns: tw.Off, BetweenRows: tw.Off, ShowHeader: tw.Off},
				Lines:      tw.Lines{ShowHeaderLine: tw.Off, ShowTop: tw.Off, ShowBottom: tw.Off},
			},
		})),
		tablewriter.WithConfig(tablewriter.Config{
			Header:   plainCells(align),
			Row:      plainCells(align),
			Behavior: tw.Behavior{TrimSpace: tw.Off},
		}),
	)
	header := make([]any, len(cols))
	for i, c := range cols {
		header[i] = c
	}
	w.Header(header...)
	if t.err = w.Bulk(rows); t.err == nil {
		t.err = w.Render()
	}
	for l := range strings.Lines(b.String()) {
		if t.err == nil {
			_, t.err = fmt.Fprintln(t.w, strings.TrimRight(l, " \n"))
		}
	}
}

// plainCells leaves the cells as they are and puts two spaces behind each.
func plainCells(align []tw.Align) tw.CellConfig {
	return tw.CellConfig{
		Formatting: tw.CellFormatting{AutoWrap: tw.WrapNone, AutoFormat: tw.Off},
		Padding:    tw.CellPadding{Global: tw.Padding{Right: "  ", Overwrite: true}},
		Alignment:  tw.CellAlignment{PerColumn: align},
	}
}

func numeric(rows [][]string, col int) bool {
	some := false
	for _, r := range rows {
		switch s := r[col]; {
		case s == "-" || s == "":
		case s[0] < '0' || s[0] > '9':
			return false
		default:
			some = some || len(s) < 20 // an ID may begin with a digit
		}
	}
	return some
}
