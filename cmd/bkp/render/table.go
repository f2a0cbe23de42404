// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// Done prints what a command that does something came to, as Result does; with --quiet nothing where it went well.
func (con *Console) Done(summary any, draw func(t *Table)) error {
	if con.Quiet && !con.JSON {
		con.EndProgress()
		return nil
	}
	return con.Result(summary, draw)
}

// Result prints what a command was asked to show: the summary object, or the text that draw makes of the same value.
func (con *Console) Result(summary any, draw func(t *Table)) error {
	con.EndProgress()
	if con.JSON {
		return con.Object("summary", summary)
	}
	return con.draw(draw)
}

// ListDone is Done for a command that has rows to show.
func ListDone[T any](con *Console, rows []T, summary any, draw func(t *Table)) error {
	if con.Quiet && !con.JSON {
		con.EndProgress()
		return nil
	}
	return List(con, rows, summary, draw)
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
	w := con.objects()
	t := &Table{w: w, width: con.width(w)}
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

// Table prints aligned columns and lines of text between them, none wider than the screen. The first error stays.
type Table struct {
	w     io.Writer
	width int // of the screen; 0 for as wide as it gets
	cols  []string
	rows  [][]string
	spare []string
	below []string
	err   error
}

// Header begins a table.
func (t *Table) Header(cols ...string) {
	t.flush()
	t.cols, t.spare, t.below = cols, nil, nil
}

// Spare names the columns that go where the screen is too narrow for all, the first of them first.
func (t *Table) Spare(cols ...string) { t.spare = cols }

// Below names the columns of texts that stand in lines of their own under their row where the screen is too narrow.
func (t *Table) Below(cols ...string) { t.below = cols }

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
		_, t.err = fmt.Fprintln(t.w, foldLines(cleanLines(fmt.Sprintf(format, args...)), t.width))
	}
}

// Whole ends the table before it and prints a line that people copy: it is not folded, however narrow the screen.
func (t *Table) Whole(line string) {
	t.flush()
	t.print(cleanLines(line))
}

// foldLines folds each line of a text.
func foldLines(text string, width int) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = Fold(l, width, "")
	}
	return strings.Join(lines, "\n")
}

// flush prints the table begun by header.
func (t *Table) flush() {
	cols, rows := t.cols, t.rows
	t.cols, t.rows = nil, nil
	if cols == nil || t.err != nil {
		return
	}
	f := fit(cols, rows, t.spare, t.below, t.width)
	lines, err := layOut(f.cols, f.rows)
	if err != nil {
		t.err = err
		return
	}
	for i, l := range lines {
		t.print(l)
		if i > 0 && i <= len(f.notes) { // line 0 is the header
			for _, note := range f.notes[i-1] {
				t.print("  " + Fold(note, t.width-2, "  "))
			}
		}
	}
	if n := len(f.left); n > 0 {
		t.print(Fold("… and "+strings.Join(f.left, ", ")+": --wide", t.width, "  "))
	}
}

func (t *Table) print(line string) {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, line)
	}
}

// layOut aligns cells: a line for the header, and one a row.
func layOut(cols []string, rows [][]string) (lines []string, err error) {
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
	if err := w.Bulk(rows); err != nil {
		return nil, err
	}
	if err := w.Render(); err != nil {
		return nil, err
	}
	for l := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(l, " \n"))
	}
	return lines, nil
}

// plainCells leaves the cells as they are and puts two spaces behind each.
func plainCells(align []tw.Align) tw.CellConfig {
	return tw.CellConfig{
		Formatting: tw.CellFormatting{AutoWrap: tw.WrapNone, AutoFormat: tw.Off},
		Padding:    tw.CellPadding{Global: tw.Padding{Right: "  ", Overwrite: true}},
		Alignment:  tw.CellAlignment{PerColumn: align},
	}
}

// numeric tells whether a column holds figures: numbers alone, or with a unit behind a space. An ID or an address that
// begins with a digit is none.
func numeric(rows [][]string, col int) bool {
	some := false
	for _, r := range rows {
		number, _, _ := strings.Cut(strings.TrimPrefix(r[col], "> "), " ")
		switch _, err := strconv.ParseFloat(number, 64); {
		case number == "-" || number == "":
		case number == "unlimited", number == "never":
		case err != nil:
			if _, err := time.ParseDuration(number); err != nil {
				return false
			}
			some = true
		default:
			some = true
		}
	}
	return some
}
