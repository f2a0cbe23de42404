// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/manifest"
	"golang.org/x/sync/errgroup"
)

// cutting is the cutting of a backup for the node: a split whose chunks go to peers a window at a time.
type cutting struct {
	commands.Cutting
	windows *windows
	saved   savedSplit
	version int
	ahead   core.Size // how far sealing may be ahead of what is taken
	cut     control.Cut

	filled chan filled // split → place

	// Of the goroutine of the split.
	list   []core.Chunk // of the open window
	listed map[core.Hash]bool
	known  map[core.Hash]bool // of windows before it, up to maxKnown
	began  core.Size

	mu      sync.Mutex
	reached []file.Checkpoint // not yet placed up to there
}

// filled is a window that is full: its chunks that have to be placed.
type filled struct {
	chunks []core.Chunk
	end    core.Size // of the file, that is placed with it
}

// CutFile cuts a file for the node and makes the version visible once every window is placed.
func (d Dir) CutFile(ctx context.Context, in commands.Cutting) (_ control.Cut, err error) {
	alias := in.Owner.Alias(in.Name)
	lock, err := d.lockBackup(alias, in.Name)
	if err != nil {
		return control.Cut{}, err
	}
	defer lock.Close()
	source, err := sourceOf(in)
	if err != nil {
		return control.Cut{}, err
	}
	defer source.Close()
	params, err := d.splitParams(ctx, in.Owner, in.Name, in.Chunker, source)
	if err != nil {
		return control.Cut{}, err
	}
	level, err := chunk.ParseLevel(in.Compression)
	if err != nil {
		return control.Cut{}, core.Fail(core.CodeUsage, "--compression: %w", err)
	}
	c := &cutting{Cutting: in, saved: d.savedSplit(in.Owner, in.Name), filled: make(chan filled),
		listed: map[core.Hash]bool{}, known: map[core.Hash]bool{}}
	c.ahead = file.Ahead(params)
	off, err := d.openOffloaded(ctx, in.Owner)
	if err != nil {
		return control.Cut{}, err
	}
	defer off.Close()
	since, err := d.since(in.Owner, in.Name, in.Changed)
	if err != nil {
		return control.Cut{}, err
	}
	if c.version, err = d.Refs().Coming(alias); err != nil {
		return control.Cut{}, err
	}
	resume, reached := c.saved.read()
	if len(reached.Records) > 0 {
		if err := in.Taken(ctx, reached.Records); err != nil {
			resume = nil
		} else {
			c.saved.task, c.saved.records = reached.Task, reached.Records
		}
	}
	if c.windows, err = openWindows(d.Path("backup", alias, "windows"), in, off); err != nil {
		return control.Cut{}, err
	}
	defer func() { err = errors.Join(err, c.windows.Close()) }()
	r, err := c.run(ctx, file.SplitInput{
		Source: source, Params: params, Level: level, Secrets: chunk.NewSecrets(in.Owner.DedupSecret), Store: c.windows,
		Recheck: in.Recheck, Empty: in.AllowEmpty,
		Progress: func(done core.Size) { in.Progress(done, max(source.Size, 0)) },
		Since:    since, Resume: resume, Every: in.Window, Checkpoint: c.reach,
	})
	if err != nil {
		return c.cut, err
	}
	c.cut.Bytes, c.cut.Resumed, c.cut.Kept, c.cut.Chunks, c.cut.Root = r.Bytes, r.Resumed, r.Kept, r.Chunks, r.Root.Hash
	body := key.RefBody{
		Name: in.Name, Root: r.Root, Size: r.Bytes, Task: c.saved.task, Records: c.saved.records, Mode: source.Mode(),
	}
	c.cut.Version, c.cut.Unchanged, err = d.commitBackup(in, params, body, source)
	if err == nil {
		c.saved.remove()
	}
	return c.cut, err
}

// commitBackup makes the version visible, unless it is to be skipped where the newest is the same.
func (d Dir) commitBackup(in commands.Cutting, params chunk.Params, body key.RefBody, source *file.Source) (
	version int, unchanged bool, err error) {
	before, ok := d.Newest(in.Owner, in.Name)
	isPlaced := ok && before.Placed() && len(body.Records) == 0 // and no window had to be
	if in.SkipUnchanged && isPlaced && before.isOf(body) {
		return before.Ref.Version, true, d.keepSource(in.Owner, body, source)
	}
	version, err = d.commit(in.Owner, params, body, source)
	return version, false, err
}

// lockBackup takes the lock of backups of one name, which stands beside their windows.
func (d Dir) lockBackup(alias, name string) (*durable.Lock, error) {
	if err := durable.MkdirAll(d.Path("backup", alias)); err != nil {
		return nil, fmt.Errorf("make room for windows: %w", err)
	}
	lock := durable.NewLock(d.Path("backup", alias, "lock"))
	got, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("make room for windows: %w", err)
	}
	if !got {
		return nil, core.Fail(core.CodeBusy, "another backup of %s is running", core.Printable(name))
	}
	return lock, nil
}

// sourceOf is what a backup reads: a path, or a reader where there is none.
func sourceOf(in commands.Cutting) (*file.Source, error) {
	if in.In != nil {
		return file.NewReader(in.In), nil
	}
	return file.Open(in.Input)
}

// run splits and places side by side, one window ahead.
func (c *cutting) run(ctx context.Context, in file.SplitInput) (r file.SplitResult, err error) {
	group, inner := errgroup.WithContext(ctx)
	in.Chunk = func(p file.Piece) error { return c.take(inner, p) }
	group.Go(func() (err error) {
		defer close(c.filled)
		if r, err = file.Split(inner, in); err == nil {
			err = c.hand(inner, r.Bytes)
		}
		return err
	})
	group.Go(func() error {
		for w := range c.filled {
			if err := c.place(inner, w); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return r, err
	}
	if err := c.windows.stageAll(ctx); err != nil { // with the last tree nodes
		return r, err
	}
	return r, c.Staging.Barrier(ctx)
}

// take sorts a chunk into the open window.
func (c *cutting) take(ctx context.Context, p file.Piece) error {
	if !p.Hash.IsZero() && !c.Covered(p.Hash) && !c.known[p.Hash] && !c.listed[p.Hash] {
		c.listed[p.Hash] = true
		c.list = append(c.list, core.Chunk{Hash: p.Hash, Size: p.Size})
		c.cut.NewChunks++
		c.cut.Stored += p.Size
	}
	end := p.Offset + p.Plain
	if p.Offset == 0 {
		c.began = 0 // also where Resume was of no use
	}
	if end-c.began < c.Window {
		return nil
	}
	return c.hand(ctx, end)
}

// hand gives the open window up to be placed; it waits while one is being placed already.
func (c *cutting) hand(ctx context.Context, end core.Size) error {
	if len(c.list) > 0 {
		if err := c.windows.rotate(end); err != nil {
			return err
		}
	}
	select {
	case c.filled <- filled{c.list, end}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.list, c.began = nil, end
	for hash := range c.listed {
		if len(c.known) < maxKnown {
			c.known[hash] = true
		}
	}
	clear(c.listed)
	return nil
}

// reach takes a checkpoint; it counts once all before it is placed.
func (c *cutting) reach(at file.Checkpoint) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reached = append(c.reached, at)
	return nil
}

// place has a window kept by peers, and drops those that hold nothing of what comes.
func (c *cutting) place(ctx context.Context, w filled) error {
	if len(w.chunks) > 0 {
		placed, err := c.Place(ctx, c.version, c.windows, w.chunks)
		if err != nil {
			return err
		}
		c.cut.Windows++
		c.saved.task = placed.Task
		c.saved.records = append(c.saved.records, placed.Records...)
		if err := c.windows.placed(ctx, w.chunks, c.Replicas); err != nil {
			return err
		}
	}
	if err := c.windows.drop(ctx, w.end-c.ahead); err != nil {
		return err
	}
	return c.save(ctx, w.end)
}

// save keeps the last checkpoint that lies in what is placed, with its tree nodes.
func (c *cutting) save(ctx context.Context, end core.Size) error {
	var last *file.Checkpoint
	c.mu.Lock()
	for len(c.reached) > 0 && c.reached[0].Bytes <= end {
		last, c.reached = &c.reached[0], c.reached[1:]
	}
	c.mu.Unlock()
	if last == nil {
		return nil
	}
	var nodes []core.Chunk // below one that is staged all are
	opener := NewChunks(ctx, c.windows)
	err := manifest.Nodes(last.Root, opener, func(e manifest.Entry) error {
		if e.Type != core.TypeDirectory {
			return nil
		}
		staged, err := c.Staging.Has(ctx, e.Chunk.Hash)
		if err != nil {
			return err
		}
		if staged {
			return manifest.SkipNode
		}
		nodes = append(nodes, core.Chunk{Hash: e.Chunk.Hash, Size: e.Chunk.Size})
		return nil
	})
	slices.Reverse(nodes)
	for _, n := range nodes {
		if err == nil {
			err = c.windows.stage(ctx, n)
		}
	}
	if err == nil {
		err = c.Staging.Barrier(ctx)
	}
	if err == nil {
		err = c.saved.save(*last)
	}
	return err
}
