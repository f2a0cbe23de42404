// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
	"github.com/bkp-tool/bkp/core/storage/disk/writers"
)

// mostTables is how many tables are read at a time.
const mostTables = 16

// goingPath is where the shadow of a pack stands that is being removed from the bucket.
func goingPath(dir, name string) string { return filepath.Join(dir, name+".gone") }

// completePath is there once the shadows of all packs were.
func completePath(dir string) string { return filepath.Join(dir, "COMPLETE") }

// ownerKey is the object that says whose packs these are.
const ownerKey = "store.json"

// ownership is that object.
type ownership struct {
	V    int     `json:"v"`
	Node core.ID `json:"node"`
}

// claim makes sure that the packs here are this node's: two that write to one place would collect each other's.
func (b *bucket) claim(ctx context.Context, node core.ID, write bool) error {
	for again := false; ; again = true {
		text, _, err := b.get(ctx, ownerKey, 0, 1<<10)
		if err == nil {
			return b.ownedBy(text, node)
		}
		if !errors.Is(err, fs.ErrNotExist) || again {
			return err
		}
		if !write {
			return nil
		}
		text, err = json.Marshal(ownership{1, node})
		if err == nil {
			err = b.put(ctx, ownerKey, text, true, time.Time{})
		}
		if errors.Is(err, errors.ErrUnsupported) { // by a server that knows no conditions
			err = b.put(ctx, ownerKey, text, false, time.Time{})
		}
		if err != nil && !isTaken(err) {
			return err
		}
	}
}

func (b *bucket) ownedBy(text []byte, node core.ID) error {
	var owner ownership
	if err := json.Unmarshal(text, &owner); err != nil || owner.V != 1 {
		return core.Fail(core.CodeWrong, "%s: %s is not what bkp writes", b.place.Short(), ownerKey)
	}
	if owner.Node != node {
		return core.WithHint(core.Fail(core.CodeRefused, "%s: another node keeps its packs there, %s", b.place.Short(),
			owner.Node), "take another prefix: s3://%s/NAME", b.place.Bucket)
	}
	return nil
}

// syncer brings the shadows in line with the packs in the bucket.
type syncer struct {
	*packs
	writers writers.Dir
	say     func(format string, args ...any)
}

// run does it, unless another process has the store open for writing, which did and does. What a process that died left
// is a pack without shadow, which is read, an upload that has not ended, which is aborted, and a pack that was going,
// which goes.
func (s *syncer) run(ctx context.Context, write bool) error {
	lock := durable.NewLock(filepath.Join(s.dir, "sync"))
	if _, err := lock.TryLockContext(ctx, lockPause); err != nil {
		return err
	}
	defer lock.Close()
	gate, err := s.writers.CloseGate()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // a collection goes on, of a process that is alive
	}
	if err != nil {
		return err
	}
	defer gate.Close()
	var left []upload
	if write {
		if left, err = s.bucket.uploads(ctx); err != nil {
			return err
		}
	}
	living, _, err := s.writers.Others(&writers.Writer{})
	if err != nil || len(living) > 0 {
		return err
	}
	for _, u := range left { // listed before: whoever began one of them has died
		if err := s.bucket.abort(ctx, u); err != nil {
			return err
		}
	}
	return s.shadows(ctx, write)
}

// shadows makes those that lack, and removes those of packs that are gone.
func (s *syncer) shadows(ctx context.Context, write bool) error {
	durable.Sweep(s.dir)
	here, going, err := listShadows(s.dir)
	if err != nil {
		return err
	}
	if write {
		for _, name := range going {
			err := s.finishRemoval(ctx, name)
			if s.bucket.place.byVersion() && core.CodeOf(err) == core.CodeRefused {
				s.say("warning: a pack that is to go stays for now: %v", err)
				here[name] = true
				continue
			}
			if err != nil {
				return err
			}
			delete(here, name)
		}
	}
	lacking := map[string]int64{}
	there := map[string]bool{}
	err = s.list(ctx, write, func(key string, size int64) {
		name, finished, ok := pack.NameOf(strings.TrimPrefix(key, packsPrefix))
		if there[name] = true; ok && finished && !here[name] {
			lacking[name] = size
		}
	})
	if err != nil {
		return err
	}
	if err := s.make(ctx, lacking); err != nil {
		return err
	}
	gone := 0
	for name := range here {
		if there[name] {
			continue
		}
		if err := durable.Remove(pack.Path(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		gone++
	}
	if gone > 0 {
		s.say("warning: %s: %d of %d packs are gone that were written there; somebody has removed them",
			s.bucket.place.Short(), gone, len(here))
	}
	return durable.Replace(completePath(s.dir), []byte(s.bucket.place.String()+"\n"), 0o600)
}

// list calls visit with every object of the packs. Where packs can be locked, what somebody put over one is taken away
// first: a lock keeps the bytes, and not the name that they are found by.
func (s *syncer) list(ctx context.Context, write bool, visit func(key string, size int64)) error {
	if !write || !s.bucket.place.byVersion() {
		return s.bucket.list(ctx, packsPrefix, visit)
	}
	covered := map[string]versions{}
	err := s.bucket.listVersions(ctx, packsPrefix, func(key string, vs versions) {
		written, is := vs.written()
		if is {
			visit(key, written.size)
		}
		if is && len(vs.above()) > 0 {
			covered[key] = vs
		}
	})
	if err != nil {
		return err
	}
	back := 0
	for key, vs := range covered {
		_, err := s.bucket.uncover(ctx, key, vs)
		switch {
		case core.CodeOf(err) == core.CodeRefused:
			s.say("warning: somebody has put something over %s that cannot be removed: %v", key, err)
		case err != nil:
			return err
		default:
			back++
		}
	}
	if back > 0 {
		s.say("warning: %s: somebody had removed or overwritten %d packs there; they are back", s.bucket.place.Short(), back)
	}
	return nil
}

// make reads the tables of packs that have no shadow.
func (s *syncer) make(ctx context.Context, packs map[string]int64) error {
	if len(packs) > mostTables {
		s.say("%s: reading what stands in %d packs", s.bucket.place.Short(), len(packs))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(mostTables)
	for name, size := range packs {
		group.Go(func() error {
			rows, end, err := s.table(ctx, name, size)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil {
				err = pack.Shadow(s.dir, name, rows, end)
			}
			if err != nil {
				return fmt.Errorf("pack %s: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// listShadows is the packs that have a shadow, and those that are going.
func listShadows(dir string) (here map[string]bool, going []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read packs: %w", err)
	}
	here = map[string]bool{}
	for _, e := range entries {
		if name, finished, ok := pack.NameOf(e.Name()); ok && finished {
			here[name] = true
		}
		if name, ok := strings.CutSuffix(e.Name(), ".gone"); ok {
			going = append(going, name)
		}
	}
	return here, going, nil
}
