package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// added is what a version adds to what is there without it: new chunks, each where it stands first in the file. Tree
// nodes are left out.
type added struct {
	Chunks int          `json:"new_chunks"`
	Bytes  core.Size    `json:"new_bytes"` // of the file
	Stored core.Size    `json:"new_stored_bytes"`
	Ranges []core.Range `json:"-"`
}

func (a *added) add(offset, length, stored core.Size) {
	a.Chunks++
	a.Bytes += length
	a.Stored += stored
	if last := len(a.Ranges) - 1; last >= 0 && a.Ranges[last].Start+a.Ranges[last].Length == int(offset) {
		a.Ranges[last].Length += int(length)
		return
	}
	a.Ranges = append(a.Ranges, core.Range{Start: int(offset), Length: int(length)})
}

// diffSummary is how one version differs from another.
type diffSummary struct {
	Old string `json:"old"`
	New string `json:"new"`
	added
	Places     int       `json:"ranges"`
	GoneChunks int       `json:"gone_chunks"` // that only the old one has
	GoneStored core.Size `json:"gone_stored_bytes"`
}

func doDiff(ctx context.Context, c *call) error {
	if c.NArg() != 2 {
		return core.WithHint(usageError("--diff wants two versions"), "bkp show --diff big.iso@1 big.iso@2")
	}
	o, err := c.ownerIfAny()
	if err != nil {
		return err
	}
	var versions [2]versionRef
	for i := range versions {
		name, version, err := nameVersion(c.Args().Get(i))
		if err == nil && o == nil {
			err = noSuchName(name, version)
		}
		if err == nil {
			versions[i], err = c.house.refs().find(o, name, version)
		}
		if err != nil {
			return err
		}
	}
	local, err := c.house.localChunks(ctx)
	if err != nil {
		return err
	}
	defer local.Close()
	sum := diffSummary{Old: versions[0].title(), New: versions[1].title()}
	if err := sum.compare(ctx, versions, local); err != nil {
		return err
	}
	return render.List(c.Console, sum.Ranges, sum, func(t *render.Table) {
		render.Ranges(t, sum.Ranges, c.Bool("all"))
		t.Line("%s adds %s in %s of %s to %s, stored in %s; %s of it would go without %s", sum.New,
			render.Counted(sum.Chunks, "chunk"),
			render.Counted(sum.Places, "range"), sum.Bytes, sum.Old, sum.Stored, sum.GoneStored, sum.Old)
	})
}

func (v versionRef) title() string { return render.Versioned(v.body.Name, v.ref.Version) }

// compare walks both manifests twice: what is in one and not in the other.
func (d *diffSummary) compare(ctx context.Context, versions [2]versionRef, local *localChunks) error {
	walk := func(v versionRef, visit func(manifest.Entry)) error {
		err := manifest.Walk(v.body.Root, local, func(e manifest.Entry) error {
			if !e.Hole() {
				visit(e)
			}
			return context.Cause(ctx)
		})
		if errors.Is(err, core.ErrNotFound) {
			return core.WithHint(core.Fail(core.CodeRedundant, "%s: its manifest is not on this machine: %w", v.title(),
				err), "bring it back with bkp fetch")
		}
		if err != nil {
			return fmt.Errorf("%s: manifest: %w", v.title(), err)
		}
		return nil
	}
	var sets [2]hashSet
	for i, v := range versions {
		if err := walk(v, func(e manifest.Entry) {
			sets[i] = append(sets[i],
				[16]byte(e.Chunk.Hash[:16]))
		}); err != nil {
			return err
		}
		sets[i] = sets[i].sorted()
	}
	once := make([]bool, len(sets[1]))
	err := walk(versions[1], func(e manifest.Entry) {
		at, _ := sets[1].find(e.Chunk.Hash)
		if _, there := sets[0].find(e.Chunk.Hash); !there && !once[at] {
			once[at] = true
			d.add(e.Offset, e.Span, e.Chunk.Size)
		}
	})
	if err != nil {
		return err
	}
	d.Places = len(d.Ranges)
	once = make([]bool, len(sets[0]))
	return walk(versions[0], func(e manifest.Entry) {
		at, _ := sets[0].find(e.Chunk.Hash)
		if _, there := sets[1].find(e.Chunk.Hash); !there && !once[at] {
			once[at] = true
			d.GoneChunks++
			d.GoneStored += e.Chunk.Size
		}
	})
}

// hashSet is the chunks of a version by the first half of their hashes, sorted: 16 bytes each.
type hashSet [][16]byte

func (s hashSet) sorted() hashSet {
	slices.SortFunc(s, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(s)
}

func (s hashSet) find(hash core.Hash) (int, bool) {
	return slices.BinarySearchFunc(s, hash, func(e [16]byte, h core.Hash) int { return bytes.Compare(e[:], h[:16]) })
}

// dryStore is a store for a split that stores nothing: it knows what staging knows, and what peers keep.
type dryStore struct {
	staging *disk.Store // nil where there is none
	away    *awayChunks
	mu      sync.Mutex
	put     map[[16]byte]struct{}
}

// dryStore opens staging for reading.
func (h house) dryStore() (*dryStore, error) {
	d := &dryStore{put: map[[16]byte]struct{}{}}
	var err error
	if d.staging, err = disk.OpenRead(h.path("staging")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open staging: %w", err)
	}
	return d, nil
}

func (d *dryStore) Find(ctx context.Context, id core.Hash) (core.Chunk, bool, error) {
	if d.staging != nil {
		if c, found, err := d.staging.Find(ctx, id); found || err != nil {
			return c, found, err
		}
	}
	return d.away.find(ctx, id)
}

func (d *dryStore) Has(ctx context.Context, hash core.Hash) (bool, error) {
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
	err := d.away.Close()
	if d.staging != nil {
		err = errors.Join(err, d.staging.Close())
	}
	return err
}
