// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"math"
	"slices"
)

// program is a linear program that grows: the greatest gain·x for x ≥ 0 with every row at most its limit, which is
// never below 0, so that x = 0 is where it starts. Columns and rows may be added between two calls of maximise, which
// goes on from where it stood; a row must come before the first column that uses it. It is the revised simplex method
// (Dantzig, Orchard-Hays 1954) with a dense inverse of the basis.
//
// No library was found that does it: gonum's lp.Simplex gives neither duals, which say what column is worth adding, nor
// a basis to go on from.
type program struct {
	limit []float64
	gain  []float64
	cols  [][]term
	basis []int       // by row: the column that is basic there; −1−r is the slack of row r
	where []int       // by column: the row in which it is basic, −1
	slack []int       // by row: where its slack is basic, −1
	inv   [][]float64 // of the basis
	x     []float64   // by row: the value of what is basic there
	y     []float64   // by row: its dual
	since int         // pivots since the inverse was made afresh
}

type term struct {
	row   int
	value float64
}

const (
	pivotable = 1e-9  // a pivot below that is none
	improving = 1e-10 // a reduced gain below that is none
)

// row adds a row.
func (p *program) row(limit float64) int {
	m := len(p.limit)
	p.limit, p.basis, p.slack = append(p.limit, limit), append(p.basis, -1-m), append(p.slack, m)
	for r := range p.inv {
		p.inv[r] = append(p.inv[r], 0)
	}
	line := make([]float64, m+1)
	line[m] = 1
	p.inv, p.x, p.y = append(p.inv, line), append(p.x, limit), append(p.y, 0)
	return m
}

// column adds a column; of terms in the same row the sum counts.
func (p *program) column(gain float64, terms []term) int {
	slices.SortStableFunc(terms, func(a, b term) int { return a.row - b.row })
	var merged []term
	for _, t := range terms {
		if last := len(merged) - 1; last >= 0 && merged[last].row == t.row {
			merged[last].value += t.value
		} else {
			merged = append(merged, t)
		}
	}
	p.cols, p.gain, p.where = append(p.cols, merged), append(p.gain, gain), append(p.where, -1)
	return len(p.cols) - 1
}

// value is what a column has in the present solution.
func (p *program) value(col int) float64 {
	if r := p.where[col]; r >= 0 {
		return max(0, p.x[r])
	}
	return 0
}

// maximise goes to the best solution over the present columns; false where there is none, since the gain grows without
// end.
func (p *program) maximise() bool {
	m, idle := len(p.limit), 0
	d := make([]float64, m)
	for range 50 * (m + len(p.cols) + 10) {
		p.duals()
		col := p.entering(idle > 2*m)
		if col == noColumn {
			return true
		}
		p.direction(col, d)
		r := p.leaving(d, idle > 2*m)
		if r < 0 {
			return false
		}
		if p.x[r] > 1e-13*d[r] {
			idle = 0
		} else {
			idle++
		}
		p.pivot(col, r, d)
	}
	return true // rounding goes round in circles; what was found so far holds
}

const noColumn = math.MinInt

// duals solves for the rows' prices.
func (p *program) duals() {
	clear(p.y)
	for r, col := range p.basis {
		if col < 0 || p.gain[col] == 0 {
			continue
		}
		g := p.gain[col]
		for k, v := range p.inv[r] {
			p.y[k] += g * v
		}
	}
}

// reduced is what one more of a column gains beyond what it costs at the rows' prices.
func (p *program) reduced(col int) float64 {
	g := p.gain[col]
	for _, t := range p.cols[col] {
		g -= p.y[t.row] * t.value
	}
	return g
}

// entering is the column, or slack, that gains most; or by Bland's rule, which never goes round in circles, the first.
func (p *program) entering(first bool) int {
	best, most := noColumn, improving
	for col := range p.cols {
		if p.where[col] >= 0 {
			continue
		}
		if g := p.reduced(col); g > most {
			if best, most = col, g; first {
				return best
			}
		}
	}
	for r, y := range p.y {
		if p.slack[r] < 0 && -y > most {
			if best, most = -1-r, -y; first {
				return best
			}
		}
	}
	return best
}

// direction is by how much each basic value falls for one more of a column.
func (p *program) direction(col int, d []float64) {
	if col < 0 {
		for r, line := range p.inv {
			d[r] = line[-1-col]
		}
		return
	}
	for r, line := range p.inv {
		sum := 0.0
		for _, t := range p.cols[col] {
			sum += line[t.row] * t.value
		}
		d[r] = sum
	}
}

// leaving is the row whose value reaches 0 first; of several the one with the largest pivot, or by Bland's rule the one
// whose column comes first.
func (p *program) leaving(d []float64, first bool) int {
	best, least := -1, math.Inf(1)
	for r, v := range d {
		if v <= pivotable {
			continue
		}
		ratio := max(0, p.x[r]) / v
		same := math.Abs(ratio-least) <= 1e-12*(1+least)
		switch {
		case best < 0 || ratio < least && !same:
		case same && first && p.order(p.basis[r]) < p.order(p.basis[best]):
		case same && !first && v > d[best]:
		default:
			continue
		}
		best, least = r, ratio
	}
	return best
}

// order numbers columns and then slacks.
func (p *program) order(col int) int {
	if col < 0 {
		return len(p.cols) - 1 - col
	}
	return col
}

func (p *program) pivot(col, r int, d []float64) {
	step := max(0, p.x[r]) / d[r]
	line := p.inv[r]
	for k := range line {
		line[k] /= d[r]
	}
	for i, other := range p.inv {
		if i == r || d[i] == 0 {
			continue
		}
		by := d[i]
		for k, v := range line {
			if v != 0 {
				other[k] -= by * v
			}
		}
		p.x[i] -= by * step
	}
	p.x[r] = step
	p.mark(p.basis[r], -1)
	p.basis[r] = col
	p.mark(col, r)
	if p.since++; p.since >= max(100, len(p.limit)/2) {
		p.refresh()
	}
}

func (p *program) mark(col, r int) {
	if col < 0 {
		p.slack[-1-col] = r
	} else {
		p.where[col] = r
	}
}

// refresh makes the inverse, and the values, anew from the basis, since rounding adds up.
func (p *program) refresh() {
	m := len(p.limit)
	p.since = 0
	fresh := make([][]float64, m)
	for r := range fresh { // the basis by rows, and beside it what becomes of the identity
		fresh[r] = make([]float64, 2*m)
		fresh[r][m+r] = 1
	}
	for c, col := range p.basis {
		if col < 0 {
			fresh[-1-col][c] = 1
			continue
		}
		for _, t := range p.cols[col] {
			fresh[t.row][c] = t.value
		}
	}
	for c := range m {
		big := c
		for r := c; r < m; r++ {
			if math.Abs(fresh[r][c]) > math.Abs(fresh[big][c]) {
				big = r
			}
		}
		if math.Abs(fresh[big][c]) < 1e-14 {
			return // singular by rounding: the old one is as good as any
		}
		fresh[c], fresh[big] = fresh[big], fresh[c]
		head := fresh[c]
		by := 1 / head[c]
		for k := c; k < 2*m; k++ {
			head[k] *= by
		}
		for r, line := range fresh {
			if by := line[c]; r != c && by != 0 {
				for k := c; k < 2*m; k++ {
					if head[k] != 0 {
						line[k] -= by * head[k]
					}
				}
			}
		}
	}
	for r := range p.inv {
		copy(p.inv[r], fresh[r][m:])
		p.x[r] = 0
		for k, v := range p.inv[r] {
			p.x[r] += v * p.limit[k]
		}
	}
}
