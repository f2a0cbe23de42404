// SPDX-License-Identifier: Apache-2.0

package render

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
	"golang.org/x/term"
)

// gap is the number of columns of the screen between two columns of a table.
const gap = 2

// leastCut is how narrow a cell of text is cut at most.
const leastCut = 8

// width is how many columns the screen behind Stdout has: those of its terminal, or $COLUMNS; 0 where lines may be as
// long as they get, as in a file or with --wide.
func (con *Console) width(w any) int {
	if con.Wide {
		return 0
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	f, ok := w.(*os.File)
	if !ok || !IsTerminal(f) {
		return 0
	}
	n, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return n
}

// fitted is a table as it fits the screen.
type fitted struct {
	cols  []string
	rows  [][]string
	notes [][]string // by row: texts that stand in lines below it, since the row has no room for them
	left  []string   // the names of columns that were left out
}

// fit makes a table fit into width columns of the screen: texts of the columns named in below go under their rows, then
// columns named in spare are left out, those that say nothing first, and last the widest texts are cut.
func fit(cols []string, rows [][]string, spare, below []string, width int) fitted {
	f := fitted{cols: cols, rows: rows, notes: make([][]string, len(rows))}
	if width <= 0 {
		return f
	}
	for _, name := range below {
		if at := slices.Index(f.cols, name); at >= 0 && f.total() > width {
			for i, r := range f.rows {
				if r[at] != "" && r[at] != "-" {
					f.notes[i] = append(f.notes[i], r[at])
				}
			}
			f.drop(at)
		}
	}
	for f.total() > width {
		at := f.dropNext(spare)
		if at < 0 {
			break
		}
		f.left = append(f.left, f.cols[at])
		f.drop(at)
	}
	f.cut(width)
	return f
}

// dropNext is which column of spare goes next: one without a word in it, else the first that is still there; -1 where
// none is.
func (f *fitted) dropNext(spare []string) int {
	next := -1
	for _, name := range spare {
		at := slices.Index(f.cols, name)
		if at < 0 {
			continue
		}
		if !slices.ContainsFunc(f.rows, func(r []string) bool { return r[at] != "-" && r[at] != "" }) {
			return at
		}
		if next < 0 {
			next = at
		}
	}
	return next
}

func (f *fitted) drop(at int) {
	without := func(r []string) []string { return slices.Delete(slices.Clone(r), at, at+1) }
	f.cols = without(f.cols)
	rows := make([][]string, len(f.rows))
	for i, r := range f.rows {
		rows[i] = without(r)
	}
	f.rows = rows
}

// widths is how wide each column is.
func (f *fitted) widths() []int {
	widths := make([]int, len(f.cols))
	for i, c := range f.cols {
		widths[i] = twwidth.Width(c)
		for _, r := range f.rows {
			widths[i] = max(widths[i], twwidth.Width(r[i]))
		}
	}
	return widths
}

func (f *fitted) total() int {
	sum := gap * (len(f.cols) - 1)
	for _, w := range f.widths() {
		sum += w
	}
	return sum
}

// cut shortens texts of the widest columns until all fit, but no figure.
func (f *fitted) cut(width int) {
	over := f.total() - width
	if over <= 0 {
		return
	}
	widths := f.widths()
	for ; over > 0; over-- {
		widest := -1
		for i, w := range widths {
			if w > leastCut && !numeric(f.rows, i) && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	rows := make([][]string, len(f.rows))
	for i, r := range f.rows {
		rows[i] = slices.Clone(r)
		for j := range r {
			if twwidth.Width(r[j]) > widths[j] {
				rows[i][j] = twwidth.Truncate(r[j], widths[j], "…")
			}
		}
	}
	f.rows = rows
	f.cols = slices.Clone(f.cols)
	for j, c := range f.cols {
		if twwidth.Width(c) > widths[j] {
			f.cols[j] = twwidth.Truncate(c, widths[j], "…")
		}
	}
}

// Fold breaks text between words into lines of at most width columns of the screen; lines after the first begin with
// indent. A command that the text ends with, as hints do, has a line of its own, whole, so that it can be copied.
func Fold(text string, width int, indent string) string {
	if width <= 0 || twwidth.Width(text) <= width {
		return text
	}
	if at := strings.LastIndex(text, ": bkp "); at >= 0 && !strings.ContainsAny(text[at:], ";,?") &&
		!strings.Contains(text[at:], ". ") && !strings.HasSuffix(text[:at], "hint") {
		return Fold(text[:at+1], width, indent) + "\n" + indent + "   " + text[at+2:]
	}
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		w := twwidth.Width(word)
		switch {
		case i == 0:
			lead := text[:len(text)-len(strings.TrimLeft(text, " "))]
			b.WriteString(lead)
			column = len(lead)
		case column+1+w > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += w
	}
	return b.String()
}
