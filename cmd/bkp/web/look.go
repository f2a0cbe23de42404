// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Source is what the page is about: the running node, and what stands in the data directory.
type Source struct {
	control.Caller
	Versions func() ([]control.VersionRow, error)
	Ledger   func() ([]Entry, error) // oldest first
}

// Entry is one of the ledger.
type Entry struct {
	Index int64
	Kind  string
	By    core.ID
	Runs  int
	Bytes core.Size
}

// view is what the page shows.
type view struct {
	Status   control.StatusResult
	Failed   string // why the node did not answer
	Versions []version
	AtRisk   int
	Peers    []peer
	Kept     []kept
	Ledger   []Entry
	Problems []string
	At       time.Time
}

// version is a version and how its copies stand, as bkp status tells it.
type version struct {
	control.VersionRow
	Lacks int // copies
	Reach int // copies that count, at nodes that can be reached
	State string
	Bad   bool // fewer count than are wanted
}

// peer is a peer, with what was leased on its link in the last minute.
type peer struct {
	control.PeerRow
	Line string // points of a polyline, 60 by 16
	Busy string // in words
}

// kept sums up what is kept for an owner.
type kept struct {
	Owner core.ID
	Tasks int
	Runs  int
	Bytes core.Size
}

const (
	kinks    = 60              // samples of a sparkline
	patience = 5 * time.Second // for the node to answer
	fresh    = every * 3 / 4   // a view is shown to several pages for so long
	seldom   = 5 * time.Second // peers, versions and the ledger are asked for so often
	tail     = 12              // entries of the ledger
)

// watcher looks at the source for all open pages, not once for each.
type watcher struct {
	Source

	mu      sync.Mutex
	last    view
	peersAt time.Time
	peers   []control.PeerRow
	history map[core.ID][]core.Rate
}

// look is what the page shows now.
func (w *watcher) look(ctx context.Context) view {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.last.At) < fresh {
		return w.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	v := view{At: now, Versions: w.last.Versions, AtRisk: w.last.AtRisk, Ledger: w.last.Ledger}
	if err := w.Call(ctx, control.CommandStatus, control.None{}, &v.Status, nil); err != nil {
		v.Failed = err.Error()
	}
	if now.Sub(w.peersAt) >= seldom && v.Failed == "" {
		w.peersAt = now
		w.rest(ctx, &v)
	}
	v.Peers = w.sparks(v.Status.Links)
	v.Kept = keptOf(v.Status.Tasks)
	w.last = v
	return v
}

// rest asks for what changes seldom.
func (w *watcher) rest(ctx context.Context, v *view) {
	var r control.PeersResult
	if err := w.Call(ctx, control.CommandPeers, control.PeersArgs{}, &r, nil); err == nil {
		w.peers = r.Peers
	}
	rows, err := w.Versions()
	if err != nil {
		v.Problems = append(v.Problems, err.Error())
	}
	var standing control.StandingResult
	if err := w.Call(ctx, control.CommandStanding, control.StandingArgs{}, &standing, nil); err != nil {
		v.Problems = append(v.Problems, err.Error())
	}
	v.Versions, v.AtRisk = ranked(rows, standing.Placements)
	if v.Ledger, err = w.Ledger(); err != nil {
		v.Problems = append(v.Problems, err.Error())
	}
	v.Ledger = newest(v.Ledger, tail)
}

// ranked puts versions first that are not placed, then those that lack most copies, then the newest.
func ranked(rows []control.VersionRow, standings []control.Standing) (all []version, atRisk int) {
	for _, r := range rows {
		x := version{VersionRow: r, Bad: !r.Placed}
		for _, s := range standings {
			if s.Name == r.Name && s.Version == r.Version {
				x.Copies, x.Wanted, x.Reach, x.State = s.Copies, s.Wanted, s.Reached, s.State
				x.Bad = s.Code != core.CodeOK
			}
		}
		x.Lacks = max(0, x.Wanted-x.Copies)
		if x.Bad {
			atRisk++
		}
		all = append(all, x)
	}
	slices.SortStableFunc(all, func(a, b version) int {
		known := func(v version) int {
			if v.State == "" && v.Bad {
				return 0
			}
			return 1
		}
		bad := func(v version) int { return map[bool]int{true: 1}[v.Bad] }
		return cmp.Or(known(a)-known(b), bad(b)-bad(a), b.Lacks-a.Lacks, cmp.Compare(b.Created, a.Created))
	})
	return all, atRisk
}

// sparks adds this second's leases to what is remembered of each link.
func (w *watcher) sparks(links []control.PeerRow) (rows []peer) {
	if w.history == nil {
		w.history = map[core.ID][]core.Rate{}
	}
	live := map[core.ID]control.PeerRow{}
	for _, l := range links {
		live[l.ID] = l
		h := append(w.history[l.ID], l.LeasedOut+l.LeasedIn)
		w.history[l.ID] = h[max(0, len(h)-kinks):]
	}
	for _, p := range w.peers {
		if l, ok := live[p.ID]; ok {
			l.Remaining, l.Files, l.Degraded, l.MeasuredIn = p.Remaining, p.Files, p.Degraded, p.MeasuredIn
			p = l
		} else {
			p.Connected = false
		}
		delete(live, p.ID)
		rows = append(rows, peer{PeerRow: p, Line: points(w.history[p.ID], 2*p.Declared), Busy: busy(p)})
	}
	for _, l := range links {
		if _, missing := live[l.ID]; missing {
			rows = append(rows, peer{PeerRow: l, Line: points(w.history[l.ID], 2*l.Declared), Busy: busy(l)})
		}
	}
	return rows
}

// points draws rates in a field of 60 by 16.
func points(rates []core.Rate, full core.Rate) string {
	var b strings.Builder
	for i, r := range rates {
		y := 15.0
		if full > 0 {
			y -= 14 * min(1, float64(r)/float64(full))
		}
		fmt.Fprintf(&b, "%d,%.1f ", kinks-len(rates)+i, y)
	}
	return strings.TrimSpace(b.String())
}

func busy(p control.PeerRow) string {
	switch {
	case !p.Connected:
		return "not connected"
	case p.LeasedOut+p.LeasedIn == 0:
		return "idle"
	}
	return fmt.Sprintf("sends %s, receives %s", p.LeasedOut, p.LeasedIn)
}

func keptOf(tasks []control.TaskRow) (rows []kept) {
	for _, t := range tasks {
		at := slices.IndexFunc(rows, func(k kept) bool { return k.Owner == t.Owner })
		if at < 0 {
			at = len(rows)
			rows = append(rows, kept{Owner: t.Owner})
		}
		rows[at].Tasks++
		rows[at].Runs += t.Runs
		rows[at].Bytes += t.Bytes
	}
	return rows
}

// words are what templates call.
var words = template.FuncMap{
	"day": func(unix int64) string { return time.Unix(unix, 0).Format("2006-01-02 15:04") },
	"at":  func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") },
	"share": func(part, whole core.Size) float64 {
		if whole <= 0 {
			return 0
		}
		return min(1, float64(part)/float64(whole))
	},
	"counted": func(n int, noun string) string {
		if n == 1 {
			return "1 " + noun
		}
		return fmt.Sprintf("%d %ss", n, noun)
	},
	"since": func(t time.Time) string { return span(time.Since(t).Seconds()) },
	"span":  span,
	"left":  left,
	"rate":  func(done core.Size, s float64) string { return rateOf(done, s) },
	"bps": func(r core.Rate) string {
		if r == 0 {
			return "–"
		}
		return r.String()
	},
	"plain": core.Printable,
	"delay": func(ms float64) string { return fmt.Sprintf("%.0f ms", max(0, ms)) },
}

func span(seconds float64) string {
	return time.Duration(max(0, seconds) * float64(time.Second)).Round(time.Second).String()
}

// left is how long work still takes at the rate that it had so far.
func left(s control.Status) string {
	if s.Done <= 0 || s.Total <= s.Done || s.Seconds <= 0 {
		return ""
	}
	return span(float64(s.Total-s.Done) * s.Seconds / float64(s.Done))
}

func rateOf(done core.Size, seconds float64) string {
	if seconds <= 0 || done <= 0 {
		return ""
	}
	return core.Rate(float64(done) / seconds).String()
}
