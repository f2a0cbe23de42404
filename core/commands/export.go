// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/place"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/shipment"
	"github.com/bkp-tool/bkp/core/storage/disk/space"
	"github.com/bkp-tool/bkp/core/version"
)

// So much is written before it is synced and gets its names: two syncs a run would set the time on a slow disk.
const (
	exportRuns  = 64
	exportBytes = 64 * core.MiB
)

// export writes what a node is to keep to a disk.
type export struct {
	*Node
	folder string // that the disk is mounted at
	status func(control.Status)
	done   control.Exported

	began   time.Time
	said    time.Time
	total   core.Size // to be written
	most    int       // runs that wait for their names
	waiting []unnamed
	bytes   core.Size // of waiting
}

// unnamed is a run that is written, and does not have its name yet.
type unnamed struct {
	*durable.File
	path string
}

// exported has what a placement would send written to the folder that is asked for.
func (n *Node) exported(a *place.Args, folder string, status func(control.Status)) (*export, error) {
	if !filepath.IsAbs(folder) || !a.Erasure.IsZero() || a.Coordinator != "" || a.Plan != nil || a.DryRun {
		return nil, core.Fail(core.CodeUsage, "place: what goes to a disk is copies for the one node of only, and export an "+
			"absolute path")
	}
	e := &export{Node: n, folder: folder, status: status, most: exportRuns}
	a.Export, a.Copies, a.Replicas, a.AsBefore = e.write, a.Replicas, 1, false
	return e, nil
}

// result is what came of it.
func (e *export) result(r place.Result) *control.Exported {
	if r.Survey == nil || e.began.IsZero() {
		return nil
	}
	e.done.Address, e.done.Seconds = r.Survey.Address(e.done.Node), time.Since(e.began).Seconds()
	e.done.Kept = 0
	for _, s := range r.Standing.Segments {
		e.done.Kept += s.SizeOf(s.Share(e.done.Node))
	}
	e.done.Kept -= e.done.Bytes + e.done.Rest + e.total - e.done.Written
	return &e.done
}

// write is place.Args.Export.
func (e *export) write(ctx context.Context, shipments []placements.Shipment) (err error) {
	e.began = time.Now()
	if info, err := os.Stat(e.folder); err != nil || !info.IsDir() {
		return core.WithHint(core.Fail(core.CodeUsage, "no disk is mounted at %s: it is no directory", e.folder),
			"name the folder that the disk is mounted at")
	}
	defer func() { err = errors.Join(err, e.drop()) }()
	var runs [][]int // that are not there yet, of each shipment
	for i := range shipments {
		lacks, err := e.list(ctx, shipments[i])
		if err != nil {
			return e.explain(err)
		}
		runs = append(runs, lacks)
	}
	if free, _, err := space.Of(e.folder); err == nil && free < e.total {
		e.status(control.Status{Phase: "export", Warning: true, Text: fmt.Sprintf("%s are to be written, and the disk "+
			"at %s has %s free: what does not fit goes over the link", e.total, e.folder, free)})
	}
	for i, x := range shipments {
		for _, run := range runs[i] {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := e.run(ctx, x, run); err != nil {
				return e.explain(errors.Join(err, e.name())) // those before it are whole
			}
		}
		if err := e.name(); err != nil {
			return e.explain(err)
		}
	}
	return nil
}

// folderOf is that of the shipment.
func (e *export) folderOf(x placements.Shipment) (string, shipment.Name) {
	name := shipment.Name{Node: x.Node, Task: x.Message.Task}
	return filepath.Join(e.folder, name.String()), name
}

// list writes the list of a segment, and says which of its runs are to be written: those that are here, and not there.
func (e *export) list(ctx context.Context, x placements.Shipment) (lacks []int, err error) {
	dir, name := e.folderOf(x)
	under := filepath.Join(dir, shipment.RunsFolder(x.Number))
	if err := durable.MkdirAll(under); err != nil {
		return nil, err
	}
	for _, d := range []string{dir, under} { // who reads it is somebody else; what it holds is sealed
		_ = os.Chmod(d, 0o755)
	}
	r := version.Record{Task: name.Task, Number: x.Number, Source: e.ID(), Runs: x.Segment.Runs,
		License: x.Message.License}
	for _, at := range core.Ranges(x.Share(x.Node)) {
		r.Spans = append(r.Spans, core.Span{Node: x.Node, Start: at.Start, Length: at.Length})
	}
	data, err := shipment.Encode(name, r, e.Signer)
	if err == nil {
		err = durable.Replace(filepath.Join(dir, shipment.ListFile(x.Number)), data, 0o644)
	}
	if err != nil {
		return nil, err
	}
	if l, _, _, err := license.Open(x.Message.License); err == nil {
		e.done.Expires = l.Expires
	}
	e.done.Folder, e.done.Node = dir, x.Node
	for _, run := range x.Runs {
		size := x.Segment.Runs[run].Size
		here, err := e.isStaged(ctx, x.Segment.Runs[run].Chunks)
		if err != nil {
			return nil, err
		}
		info, statErr := os.Lstat(filepath.Join(under, shipment.RunFile(run)))
		switch {
		case statErr == nil && info.Size() == int64(size): // it got its name when it was whole
			e.done.Runs, e.done.Bytes = e.done.Runs+1, e.done.Bytes+size
		case !here:
			e.done.Rest += size
		default:
			lacks, e.total = append(lacks, run), e.total+size
		}
	}
	return lacks, nil
}

func (e *export) isStaged(ctx context.Context, chunks []core.Chunk) (bool, error) {
	for _, c := range chunks {
		if here, err := e.Staging.Has(ctx, c.Hash); !here || err != nil {
			return false, err
		}
	}
	return true, nil
}

// run writes a run.
func (e *export) run(ctx context.Context, x placements.Shipment, run int) error {
	r := x.Segment.Runs[run]
	data := make([]byte, 0, r.Size)
	for _, c := range r.Chunks {
		var err error
		if data, err = e.Staging.Get(ctx, c.Hash, data); err != nil {
			return fmt.Errorf("run %d of segment %d: %w", run, x.Number, err)
		}
	}
	dir, _ := e.folderOf(x)
	path := filepath.Join(dir, shipment.RunsFolder(x.Number), shipment.RunFile(run))
	temp := path + ".new"
	if err := durable.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := durable.Create(temp, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return errors.Join(err, f.Close(), durable.Remove(temp))
	}
	e.waiting, e.bytes = append(e.waiting, unnamed{f, path}), e.bytes+r.Size
	if len(e.waiting) < e.most && e.bytes < exportBytes {
		return nil
	}
	return e.name()
}

// name makes durable what waits, and gives it its names.
func (e *export) name() error {
	if len(e.waiting) == 0 {
		return nil
	}
	for _, f := range e.waiting {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	dir := filepath.Dir(e.waiting[0].path)
	for len(e.waiting) > 0 {
		f := e.waiting[0]
		if err := errors.Join(f.Rename(f.path), f.Close()); err != nil {
			return err
		}
		e.waiting = e.waiting[1:]
		e.done.Runs++
	}
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	e.done.Bytes, e.done.Written, e.bytes = e.done.Bytes+e.bytes, e.done.Written+e.bytes, 0
	if now := time.Now(); now.Sub(e.said) > 250*time.Millisecond || e.done.Written == e.total {
		e.said = now
		e.status(control.Status{Phase: "export", Done: e.done.Written, Total: e.total,
			Seconds: now.Sub(e.began).Seconds()})
	}
	return nil
}

// drop takes away what did not get its name.
func (e *export) drop() (err error) {
	for _, f := range e.waiting {
		err = errors.Join(err, f.Close(), durable.Remove(f.Name()))
	}
	e.waiting = nil
	return err
}

// explain says how far it came on a disk that is full.
func (e *export) explain(err error) error {
	if !space.IsFull(err) {
		return fmt.Errorf("write to %s: %w", e.folder, err)
	}
	return core.WithHint(core.Fail(core.CodePartial, "the disk at %s is full: %s of %s are on it, whole (%w)", e.folder,
		e.done.Bytes, e.done.Bytes+e.total-e.done.Written, err),
		"it may travel as it is, and bkp place sends the rest; or free some space there, and give the same command "+
			"again")
}
