// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/storage"
)

// splitParams says where to cut: as --chunker asks, else as the version before was cut, else as what is in the file
// asks.
func (d Dir) splitParams(ctx context.Context, o *key.Owner, name, method string, in *file.Source) (chunk.Params,
	error) {
	switch method {
	case chunk.MethodCDC, chunk.MethodFixed:
		return chunk.DefaultParams(method, in.Size), nil
	case chunk.MethodAuto, "":
	default:
		return chunk.Params{}, core.Fail(core.CodeUsage, "--chunker %q: want auto, cdc or fixed", method)
	}
	before, err := d.cutBefore(ctx, o, name)
	if err != nil || before.Method != "" {
		return before, err
	}
	if in.IsDevice() {
		return chunk.DefaultParams(chunk.MethodFixed, in.Size), nil
	}
	first, err := in.Head(ctx, chunk.GuessSize)
	return chunk.DefaultParams(chunk.Guess(first), in.Size), err
}

// cutBefore says how the version before was cut, or nothing where that is not known here.
func (d Dir) cutBefore(ctx context.Context, o *key.Owner, name string) (p chunk.Params, err error) {
	before, err := d.Refs().Find(o, name, 0)
	switch core.CodeOf(err) {
	case core.CodeOK:
	case core.CodeNoName:
		return p, nil
	case core.CodeWrong:
		return d.Refs().keptCut(o.Alias(name)), nil
	default:
		return p, err
	}
	local, err := d.OpenChunks(ctx)
	if err != nil {
		return p, err
	}
	defer local.Close()
	info, err := manifest.Stat(before.Body.Root, local)
	if errors.Is(err, core.ErrNotFound) || core.CodeOf(err) == core.CodeWrong {
		return d.Refs().keptCut(o.Alias(name)), nil // placed and collected since, or damaged
	}
	p = chunk.Params{Method: info.Method, Min: info.Min, Avg: info.Avg, Max: info.Max}
	return p, errors.Join(err, p.Check())
}

// since is the newest version of a name, of which a split takes what did not change; nil where all is to be read.
func (d Dir) since(o *key.Owner, name string, changed *control.Changed) (*file.Since, error) {
	if changed == nil {
		return nil, nil
	}
	before, err := d.Refs().Find(o, name, 0)
	if err != nil {
		return nil, core.WithHint(fmt.Errorf("--changed: the version before: %w", err),
			"leave out --changed, so that all of the file is read")
	}
	if before.Body.Forgotten() {
		return nil, core.WithHint(core.Fail(core.CodeRefused, "--changed: this machine may only write, and cannot tell any more "+
			"what %s consists of", before.Title()), "leave out --changed, so that all of the file is read")
	}
	since := &file.Since{Root: before.Body.Root, Sample: changed.Sample}
	for _, r := range changed.Ranges {
		since.Changed = append(since.Changed, file.Extent{Offset: core.Size(r.Start), Length: core.Size(r.Length)})
	}
	return since, nil
}

// commit makes the next version of a name visible, and keeps how it was cut and of what; its chunks must be durable.
// After an error there is none.
func (d Dir) commit(o *key.Owner, cut chunk.Params, body key.RefBody, in *file.Source) (version int, err error) {
	if err := d.Refs().keepCut(o.Alias(body.Name), cut); err != nil {
		return 0, err
	}
	if err := d.keepSource(o, body, in); err != nil {
		return 0, err
	}
	return d.Refs().Append(o.Alias(body.Name), func(version int, previous []byte) ([]byte, error) {
		return o.SealRef(key.Ref{Version: version, Prev: contentOf(o, previous), Created: time.Now().Unix()}, body)
	})
}

// contentOf is what the next version's ref says of the one before it; zero where that is damaged, or there is none.
func contentOf(o *key.Owner, envelope []byte) core.Hash {
	r, err := key.OpenRef(envelope)
	if err != nil || r.V > 1 {
		return r.Content
	}
	body, _ := o.OpenRefBody(r)
	return body.Root.Hash
}

// dryStore is a store for a split that stores nothing: it knows what staging knows, and what peers keep.
type dryStore struct {
	staging   storage.Collector // nil where there is none
	offloaded *Offloaded
	mu        sync.Mutex
	put       map[[16]byte]struct{}
}

// dryStore opens staging for reading.
func (d Dir) dryStore() (*dryStore, error) {
	s := &dryStore{put: map[[16]byte]struct{}{}}
	var err error
	if s.staging, err = readChunks(d.Path("staging")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open staging: %w", err)
	}
	return s, nil
}

func (d *dryStore) Find(ctx context.Context, id core.Hash) (core.Chunk, bool, error) {
	if d.staging != nil {
		if c, found, err := d.staging.Find(ctx, id); found || err != nil {
			return c, found, err
		}
	}
	return d.offloaded.find(ctx, id)
}

func (d *dryStore) Has(ctx context.Context, hash core.Hash) (bool, error) {
	if d.offloaded.has(hash) {
		return true, nil
	}
	if d.staging == nil {
		return false, nil
	}
	return d.staging.Has(ctx, hash)
}

func (d *dryStore) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	if d.staging == nil {
		return dst, core.ErrNotFound
	}
	return d.staging.Get(ctx, hash, dst)
}

func (d *dryStore) Put(ctx context.Context, c core.Chunk, _ core.Hash, _ []byte) (isNew bool, err error) {
	if has, err := d.Has(ctx, c.Hash); has || err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := [16]byte(c.Hash[:16])
	_, known := d.put[key]
	d.put[key] = struct{}{}
	return !known, nil
}

func (d *dryStore) Barrier(context.Context) error { return nil }

func (d *dryStore) Close() error {
	err := d.offloaded.Close()
	if d.staging != nil {
		err = errors.Join(err, d.staging.Close())
	}
	return err
}

// Added is what a version adds to what is there without it: new chunks, each where it stands first in the file. Tree
// nodes are left out.
type Added struct {
	Chunks int          `json:"new_chunks"`
	Bytes  core.Size    `json:"new_bytes"` // of the file
	Stored core.Size    `json:"new_stored_bytes"`
	Ranges []core.Range `json:"-"`
}

func (a *Added) add(offset, length, stored core.Size) {
	a.Chunks++
	a.Bytes += length
	a.Stored += stored
	if last := len(a.Ranges) - 1; last >= 0 && a.Ranges[last].Start+a.Ranges[last].Length == int(offset) {
		a.Ranges[last].Length += int(length)
		return
	}
	a.Ranges = append(a.Ranges, core.Range{Start: int(offset), Length: int(length)})
}

// splitStore is staging, and what went out of it since peers keep it.
type splitStore struct {
	storage.Collector
	offloaded *Offloaded
}

// Find is Store.Find with what is offloaded.
func (s splitStore) Find(ctx context.Context, id core.Hash) (core.Chunk, bool, error) {
	if c, found, err := s.Collector.Find(ctx, id); found || err != nil {
		return c, found, err
	}
	return s.offloaded.find(ctx, id)
}

// Has is Store.Has with what is offloaded.
func (s splitStore) Has(ctx context.Context, hash core.Hash) (bool, error) {
	if s.offloaded.has(hash) {
		return true, nil
	}
	return s.Collector.Has(ctx, hash)
}

// SplitInput is what a version is to be made of, and how.
type SplitInput struct {
	Owner         *key.Owner
	Name          string
	Source        *file.Source
	Chunker       string // cdc, fixed or auto
	Level         chunk.Level
	Digest        string
	Recheck       bool
	Empty         bool             // a version also of nothing
	Whole         bool             // store also what peers keep already
	Changed       *control.Changed // since the newest version; nil: all is read
	SkipUnchanged string           // by skipByStat or skipByContent: no version of what the newest consists of; empty: one anyway

	CheckpointEvery core.Size // plain bytes
	Progress        func(done core.Size)
	Warn            func(format string, args ...any)
}

// SplitResult is what a split came to.
type SplitResult struct {
	Name      string    `json:"name"`
	Version   int       `json:"version"`
	Bytes     core.Size `json:"bytes"`
	Kept      core.Size `json:"kept_bytes,omitempty"` // of them: as in the version before, and not read
	Chunks    int       `json:"chunks"`
	NewChunks int       `json:"new_chunks"`
	Stored    core.Size `json:"stored_bytes"` // of the new chunks and tree nodes
	Root      core.Hash `json:"root"`
	Seconds   float64   `json:"seconds"`
	Unchanged bool      `json:"unchanged,omitempty"` // Version is that from before
}

// isStill says that there is no new version, since the newest is the same.
func (s *SplitResult) isStill(v Version) {
	s.Version, s.Bytes, s.Root, s.Unchanged = v.Ref.Version, v.Body.Size, v.Body.Root.Hash, true
}

// Split makes a version, or says that the newest is the same.
func (d Dir) Split(ctx context.Context, in SplitInput) (sum SplitResult, err error) {
	sum.Name = in.Name
	if err := in.Owner.MayWrite(); err != nil {
		return sum, err
	}
	before, known := d.Newest(in.Owner, in.Name)
	if known && in.SkipUnchanged == SkipByStat && d.Refs().IsAsSplit(before, in.Source) {
		sum.isStill(before)
		return sum, nil
	}
	params, err := d.splitParams(ctx, in.Owner, in.Name, in.Chunker, in.Source)
	if err != nil {
		return sum, err
	}
	d.Reserve().Fill()
	staging, err := openChunks(d.Path("staging"))
	if err != nil {
		return sum, fmt.Errorf("open staging: %w", err)
	}
	// Until the version is there, gc must see that somebody builds on what it is made of.
	defer func() {
		if closeErr := staging.Close(); err != nil {
			err = errors.Join(err, closeErr)
		} else if closeErr != nil {
			in.Warn("warning: close staging: %v", closeErr) // the version is there, and all of it durable
		}
	}()
	var off *Offloaded
	if !in.Whole {
		if off, err = d.openOffloaded(ctx, in.Owner); err != nil {
			return sum, err
		}
	}
	defer off.Close()
	began := time.Now()
	saved := d.savedSplit(in.Owner, in.Name)
	since, err := d.since(in.Owner, in.Name, in.Changed)
	if err != nil {
		return sum, err
	}
	r, err := file.Split(ctx, file.SplitInput{
		Source: in.Source, Params: params, Level: in.Level, Secrets: chunk.NewSecrets(in.Owner.DedupSecret),
		Store: splitStore{staging, off}, Digest: in.Digest, Recheck: in.Recheck, Empty: in.Empty, Progress: in.Progress,
		Since: since, Resume: saved.load(), Every: in.CheckpointEvery, Checkpoint: saved.save,
	})
	if err != nil {
		return sum, err
	}
	sum.Bytes, sum.Kept, sum.Chunks, sum.NewChunks = r.Bytes, r.Kept, r.Chunks, r.NewChunks
	sum.Stored, sum.Root = r.StoredBytes, r.Root.Hash
	body := key.RefBody{Name: in.Name, Root: r.Root, Size: r.Bytes, Mode: in.Source.Mode()}
	if before, known = d.Newest(in.Owner, in.Name); known && in.SkipUnchanged != "" && before.isOf(body) {
		sum.isStill(before)
		err = d.keepSource(in.Owner, body, in.Source)
	} else {
		sum.Version, err = d.commit(in.Owner, params, body, in.Source)
	}
	if err == nil {
		saved.remove()
	}
	sum.Seconds = time.Since(began).Seconds()
	return sum, err
}

// DrySplitResult is what a split would come to.
type DrySplitResult struct {
	SplitResult
	NewBytes core.Size    `json:"new_bytes"` // of the file, in new chunks
	Places   int          `json:"ranges"`    // that they stand in
	DryRun   bool         `json:"dry_run"`
	Ranges   []core.Range `json:"-"`
}

// DrySplit cuts and seals as split does, and keeps nothing of it. Without an owner everything is new.
func (d Dir) DrySplit(ctx context.Context, in SplitInput) (sum DrySplitResult, err error) {
	if in.Owner == nil {
		if in.Owner, err = key.NewOwner(rand.Reader); err != nil {
			return sum, err
		}
	}
	params, err := d.splitParams(ctx, in.Owner, in.Name, in.Chunker, in.Source)
	if err != nil {
		return sum, err
	}
	dry, err := d.dryStore()
	if err != nil {
		return sum, err
	}
	defer dry.Close()
	if dry.offloaded, err = d.readOffloaded(ctx, in.Owner); err != nil {
		return sum, err
	}
	var news Added
	since, err := d.since(in.Owner, in.Name, in.Changed)
	if err != nil {
		return sum, err
	}
	began := time.Now()
	r, err := file.Split(ctx, file.SplitInput{
		Source: in.Source, Params: params, Level: in.Level, Secrets: chunk.NewSecrets(in.Owner.DedupSecret), Store: dry,
		Empty: in.Empty, Progress: in.Progress, Since: since,
		Chunk: func(p file.Piece) error {
			if p.IsNew {
				news.add(p.Offset, p.Plain, p.Size)
			}
			return nil
		},
	})
	if err != nil {
		return sum, err
	}
	version := 1
	if before, known := d.Newest(in.Owner, in.Name); known {
		version = before.Ref.Version + 1
	}
	return DrySplitResult{SplitResult{
		Name: in.Name, Version: version, Bytes: r.Bytes, Kept: r.Kept, Chunks: r.Chunks, NewChunks: r.NewChunks,
		Stored: r.StoredBytes, Root: r.Root.Hash, Seconds: time.Since(began).Seconds(),
	}, news.Bytes, len(news.Ranges), true, news.Ranges}, nil
}

// SkipByStat and skipByContent are how a split may find out that the newest version is the same.
const (
	SkipByStat    = "stat"
	SkipByContent = "content"
)
