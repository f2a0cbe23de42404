// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/version"
	"golang.org/x/sync/errgroup"
)

// Versions is the owner's versions on this machine.
type Versions struct {
	Refs   Refs
	Owner  func() *key.Owner
	Staged storage.Collector
	Here   version.Chunks // what is staged, and what is kept for others
	Away   Away           // nil: what went out of staging is forgotten
	Pins   live.Pins      // records in staging that no ref names yet
}

// Opened is refs that were opened, by their envelopes: opening one takes a quarter of a millisecond, and there may be
// thousands.
type Opened map[string]version.Found

// Local opens this machine's refs of an alias, or all where it is empty.
func (v *Versions) Local(alias string) ([]version.Found, error) { return v.local(alias, Opened{}) }

// local is Local for who has opened most of them a moment ago; it adds those that are new.
func (v *Versions) local(alias string, known Opened) ([]version.Found, error) {
	stored, err := v.Refs.List()
	if err != nil {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	if alias != "" {
		stored = slices.DeleteFunc(stored, func(s StoredRef) bool { return s.Alias != alias })
	}
	found := make([]version.Found, len(stored))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range stored {
		if r, ok := known[string(s.Envelope)]; ok {
			r.Away = s.Away
			found[i] = r
			continue
		}
		group.Go(func() error {
			r, err := version.Open(v.Owner(), s.Envelope)
			if err != nil {
				return core.WithHint(fmt.Errorf("DATA/refs/%s/%d: %w", s.Alias, s.Version, err),
					"bkp ls says what can be done about it")
			}
			r.Away = s.Away
			found[i] = r
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, r := range found {
		known[string(r.Envelope)] = r
	}
	return found, nil
}

// Gone is the versions of an alias, or all where it is empty, that are known here to be removed.
func (v *Versions) Gone(alias string) (gone []version.Gone, err error) {
	stored, err := v.Refs.Tombstones()
	if err != nil {
		return nil, fmt.Errorf("list tombstones: %w", err)
	}
	for _, s := range stored {
		if alias != "" && s.Alias != alias {
			continue
		}
		g, err := version.OpenGone(v.Owner(), s.Envelope)
		if err != nil {
			return nil, fmt.Errorf("DATA/refs/%s/%d.gone: %w", s.Alias, s.Version, err)
		}
		gone = append(gone, g)
	}
	return gone, nil
}

// reader reads tree nodes and records that are on this machine.
func (v *Versions) reader(ctx context.Context) *version.Reader { return version.NewReader(ctx, v.Here) }

// Bound says why this machine cannot do without the content of a version: a licence by which its holders keep it ends
// too soon. nil where none does.
func (v *Versions) Bound(ctx context.Context, of version.Found, now time.Time) error {
	r := v.reader(ctx)
	for _, sealed := range of.Body.Records {
		rec, err := r.Record(sealed)
		if err != nil {
			return err
		}
		l, _, _, err := license.Open(rec.License)
		if err != nil {
			return fmt.Errorf("its licence: %w", err)
		}
		if err := version.BoundFor(l.RetainUntil, now); err != nil {
			return err
		}
	}
	return nil
}
