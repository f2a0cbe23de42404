// SPDX-License-Identifier: Apache-2.0

package shard

import (
	"cmp"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Mend says which chunks of a stripe to get so that all that are wanted can be had, though some of its runs are lost.
// Who holds it gets what Ask says, puts what came, names runs that did not come, and asks again until nothing is
// needed.
type Mend struct {
	*Stripe
	k      int
	wanted []core.Bitmap // by run: chunks
	lost   []bool        // by run: nobody has it
	near   []bool        // by run: it is at hand here, at no cost
}

// NewMend is one of a stripe: wanted is the chunks that are wanted of each of its runs, nil where none is; lost and
// near say which of them nobody has, and which are at hand.
func NewMend(runs []core.Run, k int, wanted []core.Bitmap, lost, near []bool) (*Mend, error) {
	s, err := NewStripe(runs, k)
	return &Mend{s, k, wanted, slices.Clone(lost), slices.Clone(near)}, err
}

// Lose says that a run could not be had after all.
func (m *Mend) Lose(run int) { m.lost[run], m.near[run] = true, false }

// IsLost reports whether a run is lost.
func (m *Mend) IsLost(run int) bool { return m.lost[run] }

// Left is how many runs are left.
func (m *Mend) Left() (left int) {
	for _, lost := range m.lost {
		if !lost {
			left++
		}
	}
	return left
}

// K is how many runs are needed.
func (m *Mend) K() int { return m.k }

// from is the runs that the lost are rebuilt from: what is at hand, then those of which most is wanted anyway.
func (m *Mend) from() (runs []int) {
	for run, lost := range m.lost {
		if !lost {
			runs = append(runs, run)
		}
	}
	cost := func(run int) int {
		if m.near[run] {
			return -1 << 30
		}
		return -max(m.wanted[run].Count(len(m.runs[run].Chunks)), m.have[run].Count(len(m.runs[run].Chunks)))
	}
	slices.SortStableFunc(runs, func(a, b int) int { return cmp.Compare(cost(a), cost(b)) })
	return runs[:min(len(runs), m.k)]
}

// Ask is the chunks of each run to be got next; none where all is there. It is false where too many runs are lost.
func (m *Mend) Ask() (need []core.Bitmap, ok bool) {
	need = make([]core.Bitmap, len(m.runs))
	want := func(run, chunk int) {
		if m.Has(run, chunk) {
			return
		}
		if need[run] == nil {
			need[run] = core.NewBitmap(len(m.runs[run].Chunks))
		}
		need[run].Set(chunk)
	}
	from, ok := m.from(), true
	for run, chunks := range m.wanted {
		chunks.Each(func(chunk int) {
			switch {
			case !m.lost[run]:
				want(run, chunk)
			case len(from) < m.k:
				ok = false
			default:
				for _, other := range from {
					for _, i := range m.Overlapping(other, run, chunk) {
						want(other, i)
					}
				}
			}
		})
	}
	return need, ok
}

// Rebuilt calls f with every wanted chunk of the runs that are lost, once nothing more is to be asked for.
func (m *Mend) Rebuilt(f func(run, chunk int, data []byte) error) (err error) {
	from := m.from()
	for run, chunks := range m.wanted {
		chunks.Each(func(chunk int) {
			if err != nil || !m.lost[run] {
				return
			}
			var data []byte
			if data, err = m.Rebuild(run, chunk, from); err == nil {
				err = f(run, chunk, data)
			}
		})
	}
	return err
}
