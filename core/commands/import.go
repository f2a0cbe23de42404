// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/shipment"
)

// Import takes what came for this node on a disk, as if the sources of it had sent it.
func (n *Node) Import(ctx context.Context, args control.ImportArgs,
	status func(control.Status)) (r control.ImportResult, err error) {
	_, status, end := n.work.begin(control.CommandImport, args.Folder, 0, status)
	defer end()
	began := time.Now()
	r.Shipments, r.Others = []control.Shipment{}, []string{}
	found, err := shipmentsIn(args.Folder)
	if err != nil {
		return r, core.WithHint(core.Fail(core.CodeUsage, "%w", err), "name the folder that the disk is mounted at")
	}
	i := imports{Node: n, status: status, began: began}
	for _, x := range found {
		if x.name.Node != n.ID() {
			r.Others = append(r.Others, x.name.Node.String())
			continue
		}
		p, err := i.shipment(ctx, x)
		if err != nil {
			return r, err
		}
		r.Shipments = append(r.Shipments, p)
	}
	r.Seconds = time.Since(began).Seconds()
	slices.Sort(r.Others)
	r.Others = slices.Compact(r.Others)
	switch {
	case len(r.Shipments) > 0:
		return r, nil
	case len(r.Others) > 0:
		return r, core.WithHint(core.Fail(core.CodeRefused, "nothing in %s is for this node, %s: it is for %s",
			args.Folder, n.ID(), r.Others[0]), "import it there; or have the owner export it for this node")
	}
	return r, core.WithHint(core.Fail(core.CodeNoName, "there is nothing in %s that came from bkp place --export",
		args.Folder), "name the folder that the disk is mounted at")
}

// folder is one that a shipment stands in.
type folder struct {
	path string
	name shipment.Name
}

// shipmentsIn finds those of a disk, or the one that a path names.
func shipmentsIn(path string) (found []folder, err error) {
	if name, is := shipment.ParseName(filepath.Base(path)); is {
		found = append(found, folder{path, name})
	}
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if name, is := shipment.ParseName(e.Name()); is && e.IsDir() { // a link may lead anywhere
			found = append(found, folder{filepath.Join(path, e.Name()), name})
		}
	}
	return found, err
}

// imports is an import under way. What a disk says is a stranger's word until its list is signed, and then the
// source's.
type imports struct {
	*Node
	status func(control.Status)
	began  time.Time
	said   time.Time
	done   core.Size
	total  core.Size
}

// mostProblems bounds what is told of a shipment.
const mostProblems = 20

// outcome is what becomes of a shipment.
type outcome struct{ control.Shipment }

func (p *outcome) problem(code core.Code, file string, why error) {
	if p.Code = max(p.Code, code); len(p.Problems) == mostProblems {
		p.More++
		return
	}
	p.Problems = append(p.Problems, control.Problem{File: file, Text: core.Printable(why.Error())})
}

// shipment takes one. Its error is why the import cannot go on.
func (i *imports) shipment(ctx context.Context, f folder) (control.Shipment, error) {
	p := &outcome{control.Shipment{Folder: f.path, Task: f.name.Task, Problems: []control.Problem{}}}
	entries, err := os.ReadDir(f.path)
	if err != nil {
		p.problem(core.CodeWrong, ".", err)
	}
	var segments []int
	for _, e := range entries {
		if segment, is := shipment.ParseListFile(e.Name()); is {
			segments = append(segments, segment)
		}
	}
	slices.Sort(segments)
	i.done, i.total = 0, 0
	for _, number := range segments {
		if l, err := readList(f, number); err == nil {
			l.Each(func(run int) { i.total += l.Runs[run].Size })
		}
	}
	for _, number := range segments {
		if err := i.segment(ctx, p, f, number); err != nil {
			return p.Shipment, err
		}
	}
	if p.Missing > 0 {
		p.Code = max(p.Code, core.CodePartial)
	}
	return p.Shipment, nil
}

func readList(f folder, number int) (l shipment.List, err error) {
	file, size, err := openFile(filepath.Join(f.path, shipment.ListFile(number)))
	if err != nil {
		return l, err
	}
	defer file.Close()
	if size > int64(shipment.MaxList) {
		return l, core.Fail(core.CodeWrong, "it has %d bytes", size)
	}
	data, err := io.ReadAll(io.LimitReader(file, int64(shipment.MaxList)+1))
	if err != nil {
		return l, err
	}
	return shipment.Parse(f.name, number, data)
}

// openFile opens a file of a disk; what is none is an error, and not waited for.
func openFile(path string) (*os.File, int64, error) {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = core.Fail(core.CodeWrong, "it is no file")
	}
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	return f, info.Size(), err
}

// segment takes what a list names. Wrong bytes are named, and the rest is taken.
func (i *imports) segment(ctx context.Context, p *outcome, f folder, number int) error {
	list := shipment.ListFile(number)
	l, err := readList(f, number)
	if err != nil {
		p.problem(core.CodeWrong, list, err)
		return nil
	}
	p.Owner, p.Alias, p.Version = l.License.TaskSource.Owner, l.License.Alias, l.License.Version
	m := placements.NewSegment(l.Task, p.Alias, p.Version, number, l.Runs).Message
	m.License = l.Record.License
	for _, span := range l.Spans {
		span.From = l.Source
		m.Locations = append(m.Locations, span)
	}
	if err := m.Validate(); err != nil {
		p.problem(core.CodeWrong, list, err)
		return nil
	}
	seg, err := i.Kept().Carry(l.Source, i.isMember(l.Source), m)
	if err != nil {
		p.problem(refusedWith(err), list, err)
		return ctx.Err()
	}
	before, err := i.Kept().Durable(ctx, seg)
	if err != nil {
		return err
	}
	var brought []int
	l.Each(func(run int) {
		size := l.Runs[run].Size
		switch {
		case err != nil || ctx.Err() != nil:
		case before.Has(run):
			p.Had += size
			i.total -= size // it says nothing of how fast the disk is
		default:
			var took bool
			if took, err = i.run(p, f, seg, l, run); took {
				brought = append(brought, run)
			}
			i.tell(size)
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	after, waitErr := i.Kept().Durable(ctx, seg)
	for _, run := range brought {
		if after.Has(run) {
			p.Runs, p.Bytes = p.Runs+1, p.Bytes+l.Runs[run].Size
		} else {
			p.problem(core.CodeFailed, runPath(number, run), errors.New("it could not be made durable here"))
		}
	}
	if err != nil {
		p.problem(refusedWith(err), list, err)
	}
	p.Segments++
	return waitErr
}

// refusedWith is the code of what this node does not take.
func refusedWith(err error) core.Code {
	if reason, _ := keep.ReasonOf(err); reason != core.ReasonInternal && reason != core.ReasonNone {
		return reason.ExitCode()
	}
	return core.CodeOf(err)
}

func runPath(segment, run int) string {
	return shipment.RunsFolder(segment) + "/" + shipment.RunFile(run)
}

// run takes a run. Its error is why no other of the segment can be.
func (i *imports) run(p *outcome, f folder, seg *keep.Segment, l shipment.List, run int) (took bool, err error) {
	r, path := l.Runs[run], runPath(l.Number, run)
	if info, err := os.Lstat(filepath.Join(f.path, shipment.RunsFolder(l.Number))); err == nil && !info.IsDir() {
		return false, core.Fail(core.CodeWrong, "%s is no folder", shipment.RunsFolder(l.Number))
	}
	file, size, err := openFile(filepath.Join(f.path, filepath.FromSlash(path)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Missing += r.Size
		return false, nil
	case err == nil && size != int64(r.Size):
		file.Close()
		err = core.Fail(core.CodeWrong, "it has %d bytes, and should have %d", size, r.Size)
	}
	if err != nil {
		p.Wrong += r.Size
		p.problem(core.CodeWrong, path, err)
		return false, nil
	}
	defer file.Close()
	var buf []byte
	var reading error
	took, err = i.Kept().Bring(seg, run, r.Chunks, func(c core.Chunk) ([]byte, error) {
		buf = slices.Grow(buf[:0], int(c.Size))[:c.Size]
		if _, reading = io.ReadFull(file, buf); reading != nil {
			reading = core.Fail(core.CodeWrong, "it cannot be read: %w", reading)
		}
		return buf, reading
	})
	switch {
	case reading != nil || core.CodeOf(err) == core.CodeWrong:
		p.Wrong += r.Size
		p.problem(core.CodeWrong, path, err)
		return false, nil
	case err == nil && !took:
		p.Had += r.Size
	}
	return took, err
}

// isMember reports whether the source of a disk proved this cluster's token once: nobody shows it here.
func (i *imports) isMember(source core.ID) bool {
	return len(i.Token()) > 0 && i.Pins != nil && i.Pins.Known(source)
}

// tell says how far it is, now and then.
func (i *imports) tell(more core.Size) {
	i.done += more
	if now := time.Now(); now.Sub(i.said) > 250*time.Millisecond || i.done == i.total {
		i.said = now
		i.status(control.Status{Phase: "import", Done: i.done, Total: i.total, Seconds: now.Sub(i.began).Seconds()})
	}
}
