// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// ListPeers asks every connected peer for its state and adds those of the list that are not connected.
func (n *Node) ListPeers(ctx context.Context, args control.PeersArgs,
	_ func(control.Status)) (control.PeersResult, error) {
	n.Asker().Await(ctx)
	seen := n.See()
	rows := make([]control.PeerRow, len(seen))
	links := make([][]control.LinkRow, len(seen))
	var asking sync.WaitGroup
	for i, p := range seen {
		row := &rows[i]
		if *row = peerRow(p); !row.Connected {
			continue
		}
		asking.Go(func() {
			report, err := wire.Ask[wire.StateReport](ctx, n.Asker(), p.ID,
				func(id uint64) wire.Message { return wire.StateQuery{Query: id} })
			if err != nil {
				row.Problem = err.Error()
				return
			}
			row.Remaining, row.Files, row.Degraded = report.Remaining, report.FileCount, report.Degraded
			row.MeasuredIn = report.LinkTo(n.ID()).Measured
			if args.Links {
				links[i] = n.linkRows(p.ID, report)
			}
		})
	}
	asking.Wait()
	for _, d := range n.Dialled() {
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
func peerRow(p node.Peer) control.PeerRow {
	row := control.PeerRow{ID: p.ID, Address: p.Address, Labels: p.Labels, Connected: p.Connected, LastSeen: p.LastSeen,
		Problem: p.Problem, Declared: cmp.Or(p.Capacity, p.Declared), Measured: cmp.Or(p.Measured, p.MeasuredMean),
		MeasuredMean: p.MeasuredMean, Samples: p.Samples, Leased: p.Out + p.In, LeasedOut: p.Out, LeasedIn: p.In}
	if p.Connected {
		row.DelayMS = float64(p.Delay.Microseconds()) / 1000
	}
	return row
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
	now := n.Now()
	r = control.StatusResult{
		ID: n.ID(), Listen: n.Listen, Health: control.HealthReady, Started: now.Started,
		Capacity: n.Capacity, Used: used, Reserved: now.Reserved, Remaining: now.Offered, Staged: staged,
		Accounts: now.Accounts,
	}
	if remote, is := n.Keeping.(storage.Remote); is {
		url, lock := remote.Where()
		r.Bucket, r.LockS = url, lock.Seconds()
	}
	for _, x := range n.Health.Reasons() {
		r.Reasons = append(r.Reasons, control.HealthReason(x))
	}
	for _, l := range now.Leases {
		r.Leases = append(r.Leases, control.LeaseRow(l))
	}
	for _, t := range now.Tasks {
		r.Tasks = append(r.Tasks, control.TaskRow(t))
	}
	for _, p := range n.See() {
		if p.Settled {
			r.Links = append(r.Links, peerRow(p))
		}
	}
	r.Peers = len(r.Links)
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
	if _, err := n.reader("ls"); err != nil {
		return control.ListResult{}, err
	}
	refs, err := n.own.Local("")
	if err != nil {
		return control.ListResult{}, err
	}
	n.Asker().Await(ctx)
	remote, problems := versions{n.own, n}.At(ctx, "", 0)
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
	var result control.ListResult
	for _, p := range problems {
		result.Problems = append(result.Problems, p.Error())
	}
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
