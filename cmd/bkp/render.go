package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// result prints what a command came to: the summary object, or the text that draw makes of the same value.
func (c *call) result(summary any, draw func(t *table)) error {
	c.endProgress()
	if c.json {
		return writeObject(c.objects(), "summary", summary)
	}
	return c.draw(draw)
}

// list prints rows, one object a line, and the summary; or the text that draw makes of the rows.
func list[T any](c *call, rows []T, summary any, draw func(t *table)) error {
	c.endProgress()
	if !c.json {
		return c.draw(draw)
	}
	for _, row := range rows {
		if err := writeObject(c.objects(), "", row); err != nil {
			return err
		}
	}
	return writeObject(c.objects(), "summary", summary)
}

func (c *call) draw(draw func(t *table)) error {
	w := c.out
	if c.dataOut {
		w = c.err
	}
	t := &table{w: w}
	draw(t)
	t.flush()
	return t.err
}

// writeObject writes v as one line of JSON, with its message_type in front where kind is not empty.
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

// table prints aligned columns and lines of text between them. The first error stays.
type table struct {
	w    io.Writer
	cols []string
	rows [][]string
	err  error
}

// header begins a table.
func (t *table) header(cols ...string) {
	t.flush()
	t.cols = cols
}

// row adds a line to the table: text is cleaned, numbers align to the right.
func (t *table) row(cells ...any) {
	words := make([]string, len(cells))
	for i, c := range cells {
		words[i] = cell(c)
	}
	t.rows = append(t.rows, words)
}

// line ends the table before it and prints a line of text.
func (t *table) line(format string, args ...any) {
	t.flush()
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, cleanLines(fmt.Sprintf(format, args...)))
	}
}

// flush prints the table begun by header.
func (t *table) flush() {
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

// cell writes one value for a person; an unknown one is a dash.
func cell(v any) string {
	switch v := v.(type) {
	case string:
		return clean(v)
	case core.Size:
		return v.String()
	case core.Rate:
		if v == 0 {
			return "-"
		}
		return v.String()
	case core.ID:
		if v.IsZero() {
			return "here"
		}
		return v.Short()
	case seconds:
		return v.String()
	case time.Time:
		if v.IsZero() {
			return "-"
		}
		return v.Local().Format("2006-01-02 15:04:05")
	case float64:
		return fmt.Sprintf("%.3g", v)
	case map[string]string:
		return clean(labelText(v))
	}
	return clean(fmt.Sprint(v))
}

// seconds is a span of time as a person reads it.
type seconds float64

func (s seconds) String() string {
	n := float64(s)
	switch {
	case math.IsInf(n, 0) || math.IsNaN(n):
		return "never"
	case n > 0 && n < 0.001:
		return fmt.Sprintf("%.2f ms", n*1000)
	case n < 0.0995:
		return fmt.Sprintf("%.0f ms", n*1000)
	case n < 99.5:
		return fmt.Sprintf("%.1f s", n)
	}
	return time.Duration(n * float64(time.Second)).Round(time.Second).String()
}

// duration is a measured time; zero was not measured.
func duration(s float64) any {
	if s == 0 {
		return "-"
	}
	return seconds(s)
}
