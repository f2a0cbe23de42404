// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// onStateQuery answers a question after this node's state.
func (n *state) onStateQuery(p *peer, m wire.StateQuery) {
	n.kept.AfterReleases(func(*keep.State) { n.reportState(p, m) })
}

// filesPage is how many files one answer lists at most: 1.5 MiB.
const filesPage = 8192

// reportState answers what a coordinator needs to know of this node.
func (n *state) reportState(p *peer, m wire.StateQuery) {
	report := wire.StateReport{
		Query: m.Query, Remaining: n.kept.Offered(), Capacity: n.Capacity, Accounts: n.book.Accounts(),
		Labels: n.Labels, Degraded: n.Health.Told(),
	}
	own := n.ownState()
	report.Up, report.Down, report.UpAhead, report.DownAhead = own.Up, own.Down, own.UpAhead, own.DownAhead
	for _, other := range n.connected() {
		l := n.linkReport(other)
		l.ID, l.Address, l.Labels, l.Capacity = other.id, other.address, other.labels, other.capacity
		l.DelayMS = float64(other.session.Delay().Microseconds()) / 1000
		// who asks knows the link to itself, but not this end of it
		if other.id != p.id || l.Ahead != nil || l.Measured > 0 {
			report.Links = append(report.Links, l)
		}
	}
	from, node := p.id, n.Node
	parity := p.session != nil && p.session.Has(wire.FeatureStripes)
	files := m.Files && (p.may(m.Owner, key.RightRead) || p.may(m.Owner, key.RightWrite)) // else as if there were none
	(*others)(n).Act(func() {
		var err error
		report.FileCount, err = node.Holdings.Count()
		if err == nil && files {
			limit := cmp.Or(min(m.Limit, filesPage), filesPage)
			report.Files, err = node.Holdings.FilesOf(m.Owner, m.After, limit+1)
			if report.More = len(report.Files) > limit; report.More {
				report.Files = report.Files[:limit]
			}
			node.target.WithoutGone(report.Files)
			if !parity {
				unnamed(report.Files)
			}
		}
		if err != nil {
			node.Log.Error("report state", "error", err)
		}
		node.post(do(func(n *state) { n.send(from, report) }))
	})
}

// unnamed has runs of parity listed as content, for who does not know the word.
func unnamed(files []core.File) {
	for i := range files {
		if files[i].Type == core.TypeParity {
			files[i].Type = core.TypeFile
		}
	}
}
