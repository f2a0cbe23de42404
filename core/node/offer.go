package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	licenseLife    = 7 * 24 * time.Hour
	answerPatience = 60 * time.Second // with a target that judges a segment
	// with a target whose session is gone: silence ends a session after three pings, 15 to 20 s
	awayPatience    = 10 * time.Second
	minimumPatience = 60 * time.Second // with targets that send no receipts
)

// placedSegment is one segment at its coordinator: what it asks of whom, and what became of it.
type placedSegment struct {
	number   int
	runs     []version.Run // new, then reused
	fresh    int           // how many of them are new
	message  wire.StorageTask
	targets  []core.ID
	licenses []core.LicenseID // all that were issued for it
	answers  map[core.ID]wire.Message
	receipts map[core.ID]core.Bitmap
}

// share is the run numbers that a target is to keep.
func (s *placedSegment) share(target core.ID) (runs []int) {
	for _, span := range s.message.Locations {
		if span.Node == target {
			for run := span.Start; run < span.Start+span.Length; run++ {
				runs = append(runs, run)
			}
		}
	}
	return runs
}

// cut makes the plan's segments.
func (pl *placing) cut() {
	all := make([]version.Run, 0, pl.result.Runs)
	for _, r := range pl.fresh {
		all = append(all, version.Run{Run: r, Task: pl.task, Used: core.FullBitmap(len(r.Chunks))})
	}
	starts := make([]int, len(pl.classes))
	for class, runs := range pl.reused {
		if class > 0 {
			starts[class] = len(all)
		}
		for _, r := range runs {
			all = append(all, r.Run)
		}
	}
	var table []wire.BandwidthRow
	for _, f := range pl.result.Flows {
		table = append(table, wire.BandwidthRow{From: f.From, To: f.To, Rate: f.Rate, Bytes: f.Bytes})
	}
	for from, to := 0, 0; from < len(all); from = to {
		to = segmentEnd(all, from)
		s := &placedSegment{number: len(pl.segments), runs: all[from:to],
			fresh:   min(max(len(pl.fresh)-from, 0), to-from),
			answers: map[core.ID]wire.Message{}, receipts: map[core.ID]core.Bitmap{}}
		s.message = wire.StorageTask{Trunks: pl.snapshot.Trunks, TrunkShares: pl.trunkShares(), Task: pl.task,
			Segment: s.number, Alias: pl.version.Ref.Alias, Version: pl.version.Ref.Version, Bandwidth: table}
		for i, r := range s.runs {
			if i < s.fresh {
				s.message.Files = append(s.message.Files, r.File)
			} else {
				s.message.Reused = append(s.message.Reused, core.Reused{File: r.File, Task: r.Task, Chunks: r.Used})
			}
		}
		s.message.Locations = pl.locations(starts, from, to)
		for _, span := range s.message.Locations {
			if !slices.Contains(s.targets, span.Node) {
				s.targets = append(s.targets, span.Node)
				s.receipts[span.Node] = core.NewBitmap(len(s.runs))
			}
		}
		pl.segments = append(pl.segments, s)
	}
	pl.result.Segments = len(pl.segments)
	pl.lost, pl.failed, pl.finished = map[core.ID]time.Time{}, map[core.ID]string{}, map[core.ID]time.Time{}
}

// trunkShares is the planned rates of the flows that cross a trunk: nobody but the planner knows that they share it.
func (pl *placing) trunkShares() (rows []wire.BandwidthRow) {
	for i, f := range pl.plan.Flows {
		from, to := pl.snapshot.Nodes[f.From].Zone, pl.snapshot.Nodes[f.To].Zone
		if slices.ContainsFunc(pl.snapshot.Trunks, func(t core.TrunkState) bool {
			return t.From == from &&
				t.To == to
		}) {
			row := pl.result.Flows[i]
			rows = append(rows, wire.BandwidthRow{From: row.From, To: row.To, Rate: row.Rate, Bytes: row.Bytes})
		}
	}
	return rows
}

// licenseAll signs a licence for every segment.
func (pl *placing) licenseAll() error {
	for _, s := range pl.segments {
		envelope, err := pl.license(s)
		if err != nil {
			return err
		}
		s.message.License = envelope
	}
	return nil
}

// segmentEnd is the first run after the segment that begins at from.
func segmentEnd(runs []version.Run, from int) int {
	to, chunks := from, 0
	for to < len(runs) && to-from < core.SegmentRuns && (to == from || chunks+len(runs[to].Chunks) <= segmentChunks) {
		chunks += len(runs[to].Chunks)
		to++
	}
	return to
}

// locations is the plan's spans within runs from up to to, numbered from there.
func (pl *placing) locations(starts []int, from, to int) (spans []core.Span) {
	add := func(class int, s plan.Span) {
		first, end := max(starts[class]+s.Start, from), min(starts[class]+s.End(), to)
		if first < end {
			spans = append(spans, core.Span{
				Node: pl.snapshot.Nodes[s.Node].ID, From: pl.snapshot.Nodes[s.From].ID, Start: first - from,
				Length: end - first,
			})
		}
	}
	for class, list := range pl.plan.Classes {
		for _, s := range list {
			add(class, s)
		}
	}
	for _, s := range pl.plan.Relays { // who passes runs on keeps them too
		add(s.Class, s)
	}
	return spans
}

// retain is how long targets are to keep it.
func (pl *placing) retain() time.Duration {
	if pl.args.Retain > 0 {
		return time.Duration(pl.args.Retain) * time.Second
	}
	return defaultRetain
}

// license signs who may keep the segment.
func (pl *placing) license(s *placedSegment) ([]byte, error) {
	now := time.Now()
	owner := pl.n.owner().Signer()
	l := core.License{
		V: 1, Task: pl.task, Segment: s.number, TaskSource: core.TaskSource{Owner: owner.ID(), Node: pl.n.ID()},
		Targets: s.targets, Op: "store", Root: chunk.LicenseRoot(s.message.Files, s.message.Reused),
		NotBefore: now.Unix(), Expires: now.Add(cmp.Or(pl.life, licenseLife)).Unix(),
		RetainUntil: now.Add(pl.retain()).Unix(), Key: owner.Public(),
	}
	if _, err := rand.Read(l.ID[:]); err != nil {
		return nil, fmt.Errorf("draw licence id: %w", err)
	}
	for _, target := range s.targets {
		var bytes core.Size
		share := s.share(target)
		for _, run := range share {
			bytes += s.runs[run].Size
		}
		l.MaxBytes, l.MaxRuns = max(l.MaxBytes, bytes), max(l.MaxRuns, len(share))
	}
	envelope, err := license.Sign(l, owner)
	if err != nil {
		return nil, fmt.Errorf("sign licence: %w", err)
	}
	pl.n.ask(func() { s.licenses = append(s.licenses, l.ID) })
	return envelope, pl.n.Ledger.AppendLicense(envelope)
}

// offer sends the segments to their targets, a few at a time, and waits until all agreed; the first refusal ends it.
func (pl *placing) offer(ctx context.Context) error {
	n := pl.n
	if err := n.Ledger.Sync(); err != nil {
		return fmt.Errorf("enter licences in the ledger: %w", err)
	}
	deadline := time.NewTimer(answerPatience)
	defer deadline.Stop()
	for {
		missing, offered, err := 0, 0, error(nil)
		n.ask(func() {
			missing, err = pl.answered()
			for ; err == nil && pl.offered < len(pl.segments) && missing < offersOpen; pl.offered++ {
				missing += pl.offerOne(pl.segments[pl.offered])
			}
			offered = pl.offered
		})
		if err != nil || missing == 0 {
			return err
		}
		pl.status(control.Status{Phase: "license", Text: fmt.Sprintf("segment %d of %d", offered, len(pl.segments))})
		select {
		case <-pl.changed:
			deadline.Reset(answerPatience)
		case <-deadline.C:
			return core.WithHint(core.Fail(core.CodeRedundant, "%d answers to segments are missing after %s", missing,
				answerPatience), "bkp peers shows who is slow or gone")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ctx.Done():
			return errStopped
		}
	}
}

// offersOpen is how many answers may be outstanding: each question holds a segment's whole run list.
const offersOpen = 16

// offerOne sends a segment to its targets. Loop only.
func (pl *placing) offerOne(s *placedSegment) (sent int) {
	for _, target := range s.targets {
		if !pl.n.send(target, s.message) {
			s.answers[target] = wire.TaskRefuse{Code: core.ReasonStopped, Reason: "it is not connected"}
		}
	}
	return len(s.targets)
}

// answered counts the answers that are missing of what was offered, and returns the first refusal. Loop only.
func (pl *placing) answered() (missing int, refused error) {
	for _, s := range pl.segments[:pl.offered] {
		for _, target := range s.targets {
			switch m := s.answers[target].(type) {
			case nil:
				missing++
			case wire.TaskRefuse:
				if refused != nil {
					continue
				}
				err := core.Fail(m.Code.ExitCode(), "peer %s (%s) refused segment %d: %s", target.Short(),
					pl.n.addressOf(target), s.number, m.Reason)
				refused = core.WithHint(err, "nothing was stored; bkp place --dry-run shows what the plan needs of that peer")
			}
		}
	}
	return missing, refused
}

// onTaskAnswer takes a target's answer to a segment.
func (n *Node) onTaskAnswer(p *peer, id core.TaskID, m wire.Message) {
	pl := n.places[id]
	if pl == nil {
		return
	}
	number := 0
	switch m := m.(type) {
	case wire.TaskAgree:
		number = m.Segment
	case wire.TaskRefuse:
		number = m.Segment
	}
	if number < len(pl.segments) && slices.Contains(pl.segments[number].targets, p.id) {
		s := pl.segments[number]
		_, refused := m.(wire.TaskRefuse)
		// who refuses a further licence keeps what it agreed to before
		if _, agreed := s.answers[p.id].(wire.TaskAgree); !agreed || !refused {
			s.answers[p.id] = m
		}
		if !pl.began.IsZero() {
			pl.late(s, p.id, m)
		}
	}
	signal(pl.changed)
}

// withdrawPatience is how long answers that are on their way are waited for, before what they agree to is released.
const withdrawPatience = 2 * time.Second

// withdraw releases what targets agreed to before another refused, or before the placement was stopped.
func (pl *placing) withdraw(ctx context.Context) {
	n := pl.n
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*withdrawPatience)
	defer cancel()
	for missing, until := 1, time.Now().Add(withdrawPatience); missing > 0 && time.Now().Before(until) &&
		n.pause(ctx, 20*time.Millisecond); {
		n.ask(func() { missing, _ = pl.answered() })
	}
	var agreed []core.ID
	n.ask(func() {
		for _, s := range pl.segments[:pl.offered] {
			for _, target := range s.targets {
				if _, refused := s.answers[target].(wire.TaskRefuse); !refused && !slices.Contains(agreed, target) {
					agreed = append(agreed, target)
				}
			}
		}
	})
	for _, target := range agreed {
		if _, err := n.release(ctx, target, pl.task, pl.version.Ref.Alias, pl.version.Ref.Version); err != nil {
			n.Log.Warn("withdraw", "peer", target.Short(), "error", err)
		}
	}
}
