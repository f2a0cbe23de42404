// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
	"github.com/bkp-tool/bkp/core/storage/holdings"
	"github.com/bkp-tool/bkp/core/storage/s3"
)

// Told hears of a storage for others that is a bucket: what a person should know, and of trouble with it, until there
// is none any more (nil). Each may be nil.
type Told struct {
	Until   context.Context // of the node: once it has ended, a bucket that does not answer is not waited for
	Say     func(format string, args ...any)
	Trouble func(error)
}

// Bucket is where what is kept for others stands; false where that is DATA/holdings. There, in a bucket's case, is only
// what is known of it.
func (d Dir) Bucket() (place s3.Place, is bool, err error) {
	text, err := os.ReadFile(d.Path("storage"))
	if errors.Is(err, fs.ErrNotExist) {
		return place, false, nil
	}
	if err == nil {
		place, err = s3.Parse(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return place, false, fmt.Errorf("%s: %w", d.Path("storage"), err)
	}
	return place, true, nil
}

// UseBucket has what is kept for others stand in a bucket from now on, where that is possible: nothing is moved there.
func (d Dir) UseBucket(ctx context.Context, place s3.Place, told Told) error {
	have, is, err := d.Bucket()
	if is && place.Lock == 0 {
		place.Lock = have.Lock // who does not say otherwise goes on locking
	}
	switch {
	case err != nil || is && have == place:
		return err
	case is && !have.Same(place):
		return core.WithHint(core.Fail(core.CodeUsage, "this node keeps its packs in %s, and not in %s", have.Short(),
			place.Short()), "start it without --storage; to move it, stop it, copy all objects there, and remove %s",
			d.Path("storage"))
	case !is && d.hasPacks():
		return core.WithHint(core.Fail(core.CodeUsage, "this node keeps its packs in %s already", d.Path("holdings")),
			"take another --data directory for a node that keeps them in %s, and drain this one", place.Short())
	}
	s, err := d.openBucket(ctx, place, told)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		return err
	}
	return durable.Replace(d.Path("storage"), []byte(place.String()+"\n"), 0o600)
}

func (d Dir) hasPacks() bool {
	found, _ := filepath.Glob(d.Path("holdings", "packs", "*.*"))
	_, err := os.Stat(d.Path("holdings", "packs", "COMPLETE"))
	return len(found) > 0 && err != nil
}

func (d Dir) options(place s3.Place, told Told) (s3.Options, error) {
	signer, err := d.NodeKey()
	if err != nil {
		return s3.Options{}, err
	}
	return s3.Options{Place: place, Dir: d.Path("holdings"), Node: signer.ID(), Until: told.Until, Say: told.Say,
		Trouble: told.Trouble}, nil
}

func (d Dir) openBucket(ctx context.Context, place s3.Place, told Told) (*s3.Store, error) {
	o, err := d.options(place, told)
	if err != nil {
		return nil, err
	}
	return s3.Open(ctx, o)
}

// OpenKeeping opens what is kept for others, and makes it where there is none.
func (d Dir) OpenKeeping(ctx context.Context, told Told) (storage.Collector, error) {
	place, is, err := d.Bucket()
	switch {
	case err != nil:
		return nil, err
	case is:
		return opened(d.openBucket(ctx, place, told))
	}
	return openChunks(d.Path("holdings"))
}

// readKeeping opens what is kept for others, to leave it as it is; fs.ErrNotExist where there is none.
func (d Dir) readKeeping(ctx context.Context) (storage.Collector, error) {
	place, is, err := d.Bucket()
	if err != nil {
		return nil, err
	}
	if !is {
		return readChunks(d.Path("holdings"))
	}
	o, err := d.options(place, Told{})
	if err != nil {
		return nil, err
	}
	return opened(s3.OpenRead(ctx, o))
}

// keeps reports whether there is anything to open, empty or not.
func (d Dir) keeps() bool { return d.Has("holdings", "packs") || d.Has("storage") }

// checkPacks looks through the packs of a store, as check.Packs does.
func (d Dir) checkPacks(ctx context.Context, store, after string, read func(core.Hash) bool,
	visit func(check.Checked) error) error {
	place, is, err := d.Bucket()
	if err != nil {
		return err
	}
	if store != "holdings" || !is {
		return check.Packs(ctx, d.Path(store), after, read, visit)
	}
	o, err := d.options(place, Told{})
	if err != nil {
		return err
	}
	s, err := s3.OpenRead(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(s.Check(ctx, after, read, visit), s.Close())
}

// What is kept for others tells what stands in its packs, wherever that is.
var (
	_ holdings.Packs = (*disk.Store)(nil)
	_ holdings.Packs = (*s3.Store)(nil)
)
