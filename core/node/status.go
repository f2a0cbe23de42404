// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// peerPatience is how long a command waits for the peers of its list to come up or to fail once.
const peerPatience = 5 * time.Second

// awaitPeers returns when every peer of the list is connected or has failed, at the latest after peerPatience.
func (n *Node) awaitPeers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	for {
		settled := true
		diallers := n.hub.Diallers()
		n.ask(do(func(n *state) {
			for _, d := range diallers {
				p := n.peers[d.ID]
				settled = settled && (d.Err != nil || p != nil && p.session != nil)
			}
			for _, p := range n.peers {
				settled = settled && (p.session == nil || p.capacity > 0)
			}
		}))
		if settled || !n.pause(ctx, 20*time.Millisecond) {
			return
		}
	}
}

// unreached is why peers of the list are not connected.
func (n *Node) unreached() (problems []string) {
	for _, d := range n.hub.Diallers() {
		if d.Err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", d.Peer.Address(), d.Err))
		}
	}
	return problems
}

// each runs f for 0 to count-1 at once and waits.
func (n *Node) each(count int, f func(i int)) {
	done := make(chan struct{})
	for i := range count {
		n.act(func() { f(i); done <- struct{}{} })
	}
	for range count {
		<-done
	}
}

// ListPeers asks every connected peer for its state and adds those of the list that are not connected.
func (n *Node) ListPeers(ctx context.Context, args control.PeersArgs,
	_ func(control.Status)) (control.PeersResult, error) {
	n.awaitPeers(ctx)
	var rows []control.PeerRow
	n.ask(do(func(n *state) {
		for _, p := range n.peers {
			rows = append(rows, n.peerRow(p))
		}
	}))
	links := make([][]control.LinkRow, len(rows))
	n.each(len(rows), func(i int) {
		if !rows[i].Connected {
			return
		}
		report, err := query[wire.StateReport](ctx, n, rows[i].ID,
			func(id uint64) wire.Message { return wire.StateQuery{Query: id} })
		if err != nil {
			rows[i].Problem = err.Error()
			return
		}
		rows[i].Remaining, rows[i].Files, rows[i].Degraded = report.Remaining, report.FileCount, report.Degraded
		rows[i].MeasuredIn = report.LinkTo(n.ID()).Measured
		if args.Links {
			links[i] = n.linkRows(rows[i].ID, report)
		}
	})
	for _, d := range n.hub.Diallers() {
		known := slices.ContainsFunc(rows, func(r control.PeerRow) bool {
			return r.Address == d.Peer.Address() || !d.ID.IsZero() && r.ID == d.ID
		})
		if !known {
			row := control.PeerRow{ID: d.ID, Address: d.Peer.Address(), Declared: d.Peer.Rate,
				Problem: "not connected yet"}
			if d.Err != nil {
				row.Problem = d.Err.Error()
			}
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b control.PeerRow) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), a.ID.Compare(b.ID))
	})
	return control.PeersResult{Node: n.ID(), Listen: n.Listen, Peers: rows, Links: slices.Concat(links...)}, nil
}

// linkRows are the links of a peer to others than this node, as it reports them.
func (n *Node) linkRows(from core.ID, report wire.StateReport) (rows []control.LinkRow) {
	for _, l := range report.Links {
		if l.ID == n.ID() {
			continue
		}
		row := control.LinkRow{From: from, To: l.ID, Address: l.Address, Declared: l.Capacity, Measured: l.Measured,
			DelayMS: l.DelayMS}
		for _, a := range report.Accounts {
			if a.Name == account.Out(l.ID) {
				row.Leased = a.Leased
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// peerRow is what this node itself knows of a peer.
func (n *state) peerRow(p *peer) control.PeerRow {
	row := control.PeerRow{ID: p.id, Address: p.address, Labels: p.labels, Declared: cmp.Or(p.capacity, p.declared),
		LastSeen: p.lastSeen, Problem: p.problem}
	e := n.measures.To(p.id)
	row.MeasuredMean, row.Samples = min(e.Mean(), p.capacity), len(e.Samples())
	row.Measured = cmp.Or(n.measured(p), row.MeasuredMean)
	if p.session != nil {
		row.Connected = true
		row.DelayMS = float64(p.session.Delay().Microseconds()) / 1000
		row.LastSeen = p.session.LastSeen()
	}
	for _, a := range n.book.Accounts() {
		switch a.Name {
		case account.Out(p.id):
			row.LeasedOut = a.Leased
		case account.In(p.id):
			row.LeasedIn = a.Leased
		}
		row.Leased = row.LeasedOut + row.LeasedIn
	}
	return row
}

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
		Labels: n.Labels, Degraded: n.Health.told(),
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
	node.act(func() {
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

// Status is `bkp node status`.
func (n *Node) Status(ctx context.Context, _ control.None, _ func(control.Status)) (control.StatusResult, error) {
	var r control.StatusResult
	used, err := n.Keeping.Used(ctx)
	if err != nil {
		return r, err
	}
	staged, err := n.Staging.Used(ctx)
	if err != nil {
		return r, err
	}
	n.ask(do(func(n *state) {
		r = control.StatusResult{
			ID: n.ID(), Listen: n.Listen, Health: control.HealthReady, Reasons: n.Health.Reasons(), Started: n.started,
			Capacity: n.Capacity, Used: used, Reserved: n.kept.Reserved(),
			Remaining: n.kept.Offered(), Staged: staged, Peers: len(n.connected()), Accounts: n.book.Accounts(),
		}
		for _, l := range n.flows.Leases() {
			r.Leases = append(r.Leases, control.LeaseRow(l))
		}
		r.Tasks = n.taskRows()
		for _, p := range n.connected() {
			r.Links = append(r.Links, n.peerRow(p))
		}
	}))
	r.Work = n.work.list()
	if len(r.Reasons) > 0 {
		r.Health = control.HealthDegraded
	}
	r.Ready = r.Health == control.HealthReady
	for _, v := range n.Verifiers {
		r.Verifiers = append(r.Verifiers, v.Name)
	}
	if r.Runs, err = n.Holdings.Count(); err != nil && r.Ready { // else the reasons are what is asked for
		return r, fmt.Errorf("count runs: %w", err)
	}
	return r, nil
}

// taskRows sums up the segments kept here by task.
func (n *state) taskRows() []control.TaskRow {
	byTask := map[core.TaskID]*control.TaskRow{}
	for seg := range n.kept.Segments() {
		row := byTask[seg.Task]
		if row == nil {
			row = &control.TaskRow{Task: seg.Task, Owner: seg.Owner, Alias: seg.Alias, Version: seg.Version}
			byTask[seg.Task] = row
		}
		row.Segments++
		for run := range seg.Runs() {
			if seg.Durable(run) {
				row.Runs++
				row.Bytes += seg.File(run).Size
			}
		}
	}
	var rows []control.TaskRow
	for _, row := range byTask {
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, func(a, b control.TaskRow) int {
		return cmp.Or(strings.Compare(a.Alias, b.Alias), cmp.Compare(a.Version, b.Version), a.Task.Compare(b.Task))
	})
	return rows
}

// Files is `bkp node files`: the runs kept here.
func (n *Node) Files(_ context.Context, args control.FilesArgs, _ func(control.Status)) (control.FilesResult, error) {
	limit := cmp.Or(args.Limit, 1000)
	files, err := n.Holdings.Files(args.After, limit+1)
	if err != nil {
		return control.FilesResult{}, fmt.Errorf("list files: %w", err)
	}
	return control.FilesResult{Files: files[:min(limit, len(files))], More: len(files) > limit}, nil
}

// ListVersions lists what this machine and every reachable peer know of this owner's versions.
func (n *Node) ListVersions(ctx context.Context, _ control.ListArgs,
	_ func(control.Status)) (control.ListResult, error) {
	if _, err := n.identity("ls"); err != nil {
		return control.ListResult{}, err
	}
	refs, err := n.own.Local("")
	if err != nil {
		return control.ListResult{}, err
	}
	n.awaitPeers(ctx)
	remote, problems := ownVersions{n.own, n}.At(ctx, "", 0)
	type rowKey struct {
		name   string
		number int
	}
	rows := map[rowKey]*control.VersionRow{}
	names := map[string][]version.Found{}
	for _, r := range append(refs, remote...) {
		names[r.Body.Name] = append(names[r.Body.Name], r)
		key := rowKey{r.Body.Name, r.Ref.Version}
		row := rows[key]
		if row == nil {
			row = &control.VersionRow{Name: r.Body.Name, Version: r.Ref.Version, Size: r.Body.Size,
				Created: r.Ref.Created,
				Root:    r.Body.Root.Hash}
			rows[key] = row
		}
		if r.Body.Root.Hash == row.Root {
			row.Created = min(row.Created, r.Ref.Created) // see version.Created
		}
		row.Placed = row.Placed || len(r.Body.Records) > 0
		if r.At.IsZero() {
			copies, wanted, known, err := n.Placed.Short(r.Ref.Alias, r.Ref.Version)
			if err != nil {
				return control.ListResult{}, err
			}
			if known {
				row.Copies, row.Wanted = copies, wanted
				row.Erasure = n.Placed.Erasure(r.Ref.Alias, r.Ref.Version)
			}
		}
		row.Local, row.Away = row.Local || r.At.IsZero(), row.Away || r.Away
	}
	result := control.ListResult{Problems: problems}
	for _, row := range rows {
		row.Placed = row.Placed && row.Copies >= row.Wanted
		result.Versions = append(result.Versions, *row)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, doubt := range version.Doubts(names[name]) {
			result.Problems = append(result.Problems, fmt.Sprintf("%s: %s", name, doubt))
		}
	}
	slices.SortFunc(result.Versions, func(a, b control.VersionRow) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return result, nil
}
