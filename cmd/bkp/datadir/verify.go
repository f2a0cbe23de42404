// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"context"
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
)

// Verification reads what is on this machine and holds it against its hashes. Where it is interrupted another goes on.
type Verification struct {
	dir    Dir
	state  *verifyState
	local  *Chunks
	reader *file.Verifier
	share  float64
}

// Verify begins a verification that reads a share of the chunks, or goes on with one of the same name that was
// interrupted. Without an owner only packs can be verified.
func (d Dir) Verify(ctx context.Context, name string, share float64, restart bool, o *key.Owner) (*Verification,
	error) {
	local, err := d.OpenChunks(ctx)
	if err != nil {
		return nil, err
	}
	v := &Verification{dir: d, state: d.verifyState(name, share, restart), local: local, share: share,
		reader: &file.Verifier{Local: local, Share: share}}
	if o != nil {
		v.reader.Secrets = chunk.NewSecrets(o.DedupSecret)
	}
	return v, nil
}

// Resumed tells whether it goes on with one that was interrupted.
func (v *Verification) Resumed() bool { return v.state.resumed }

// Version reads what is on this machine of a version.
func (v *Verification) Version(ctx context.Context, x Version, progress func(core.Size)) (file.Verified, error) {
	root := x.Body.Root
	known := v.state.Versions[root.Hash]
	var err error
	if !known.Done {
		known.Verified, err = v.reader.Verify(ctx, root, x.Body.Size, known.Verified, func(so file.Verified) error {
			progress(so.At)
			return v.state.keep(root.Hash, versionProgress{Verified: so})
		})
		if err == nil {
			err = v.state.keep(root.Hash, versionProgress{Verified: known.Verified, Done: true})
		}
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("%s: %w", x.Title(), err), v.state.save())
	}
	return known.Verified, err
}

// StoreNames are those of a data directory.
var StoreNames = []string{"staging", "holdings"}

// VerifiedPacks is what was found in the packs of a store.
type VerifiedPacks struct {
	Packs  int
	Read   core.Size
	Damage []check.Damage
}

// Packs looks through a store for what belongs to no version that was verified, and for what a pack has beside its
// chunks. What is damaged is noted, so that the next split stores it anew.
func (v *Verification) Packs(ctx context.Context, store string, progress func(core.Size)) (found VerifiedPacks,
	err error) {
	at, path := v.state.Packs[store], v.dir.Path(store)
	var done core.Size
	err = v.dir.checkPacks(ctx, store, at.After, func(hash core.Hash) bool {
		return !v.reader.Seen(hash) && draw(v.share)
	}, func(p check.Checked) error {
		done += p.Bytes
		progress(done)
		at.After, at.Packs, at.Read = p.Pack, at.Packs+1, at.Read+p.Bytes
		at.Damage = append(at.Damage, p.Damage...)
		for _, d := range p.Damage {
			if v.dir.IsForeign() {
				break
			}
			check.Note(path, d)
		}
		return v.state.keepPacks(store, at)
	})
	var index []check.Damage
	var read core.Size
	if err == nil {
		index, read, err = check.Index(ctx, path, v.share > 0)
	}
	if err != nil {
		return found, errors.Join(fmt.Errorf("%s: %w", store, err), v.state.save())
	}
	return VerifiedPacks{at.Packs, at.Read + read, append(at.Damage, index...)}, nil
}

// Done forgets how far it came: there is nothing to go on with.
func (v *Verification) Done() { v.state.remove() }

// Close must be called.
func (v *Verification) Close() error { return v.local.Close() }
