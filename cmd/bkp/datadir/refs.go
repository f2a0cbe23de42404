// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/staging"
)

// Refs is DATA/refs: refs/ALIAS/VERSION holds the newest envelope of a version, refs/ALIAS/last the highest version
// ever given, so that a number is never given twice, refs/ALIAS/VERSION.away is there where this machine does without
// the version's content. Files appear whole, by rename; refs/lock guards changes.
type Refs struct{ dir string }

// Refs is the owner's refs.
func (d Dir) Refs() Refs { return Refs{d.Path("refs")} }

// Version is a version of a name as its owner sees it.
type Version struct {
	envelope  []byte // sealed
	Ref       key.Ref
	Body      key.RefBody
	Offloaded bool // its content is at peers only

	placements string // where it may have a record
}

// Placed tells whether peers keep the version, in as many copies as are wanted.
func (v Version) Placed() bool {
	copies, wanted := v.Copies()
	return len(v.Body.Records) > 0 && copies >= wanted
}

// Erasure is how the version's stripes were made; none where it is kept as copies, or there is no record.
func (v Version) Erasure() core.Erasure {
	return placements.OpenRecords(v.placements).Erasure(v.Ref.Alias, v.Ref.Version)
}

// Copies is how many copies of the version are on record, and how many are wanted: 0 and 0 where there is no record, or
// none that can be read.
func (v Version) Copies() (copies, wanted int) {
	copies, wanted, _, _ = placements.OpenRecords(v.placements).Short(v.Ref.Alias, v.Ref.Version)
	return copies, wanted
}

// List is the newest envelope of every version, by alias and version.
func (s Refs) List() ([]staging.StoredRef, error) {
	aliases, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	var out []staging.StoredRef
	for _, a := range aliases {
		if !a.IsDir() {
			continue
		}
		versions, err := s.versions(a.Name())
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			envelope, err := os.ReadFile(s.file(a.Name(), v))
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				return nil, fmt.Errorf("read ref: %w", err)
			}
			_, err = os.Stat(s.offloadedFile(a.Name(), v))
			out = append(out, staging.StoredRef{Alias: a.Name(), Version: v, Envelope: envelope, Away: err == nil})
		}
	}
	return out, nil
}

// Put writes the newest envelope of a version.
func (s Refs) Put(alias string, version int, envelope []byte) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return s.put(alias, version, envelope)
}

// Remove forgets a version; its number is not given again.
func (s Refs) Remove(alias string, version int) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.remember(alias, version); err != nil {
		return err
	}
	if err := durable.Remove(s.file(alias, version)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove ref: %w", err)
	}
	if err := durable.SyncDir(filepath.Join(s.dir, alias)); err != nil {
		return fmt.Errorf("remove ref: %w", err)
	}
	_ = durable.Remove(s.offloadedFile(alias, version)) // after the ref, which says without it that its content is here
	return s.dropNotes(alias, version)
}

// Learn keeps the tombstone of a version, whose number is not given again.
func (s Refs) Learn(alias string, version int, tombstone []byte) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err = s.write(s.tombstone(alias, version), tombstone); err == nil {
		err = s.remember(alias, version)
	}
	if err != nil {
		return fmt.Errorf("write tombstone: %w", err)
	}
	return nil
}

// Forget drops a tombstone whose time is over.
func (s Refs) Forget(alias string, version int) error {
	if err := durable.Remove(s.tombstone(alias, version)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop tombstone: %w", err)
	}
	return nil
}

const tombstoneSuffix = ".gone"

func (s Refs) tombstone(alias string, version int) string {
	return s.file(alias, version) + tombstoneSuffix
}

// Tombstones is all that are kept here.
func (s Refs) Tombstones() (out []staging.StoredRef, err error) {
	paths, err := filepath.Glob(filepath.Join(s.dir, "*", "*"+tombstoneSuffix))
	if err != nil {
		return nil, fmt.Errorf("list tombstones: %w", err)
	}
	for _, path := range paths {
		version, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), tombstoneSuffix))
		if err != nil {
			continue
		}
		envelope, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read tombstone: %w", err)
		}
		out = append(out, staging.StoredRef{Alias: filepath.Base(filepath.Dir(path)), Version: version, Envelope: envelope})
	}
	return out, nil
}

// SetAway says whether this machine does without the content of a version.
func (s Refs) SetAway(alias string, version int, away bool) error {
	path := s.offloadedFile(alias, version)
	var err error
	if away {
		if err = durable.Replace(path, nil, 0o600); err == nil {
			err = s.forget(alias, version)
		}
	} else if err = durable.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("note that peers keep version %d: %w", version, err)
	}
	return nil
}

func (s Refs) offloadedFile(alias string, version int) string {
	return s.file(alias, version) + ".away"
}

// Coming is the number that the next version of an alias will have, unless another process is faster.
func (s Refs) Coming(alias string) (int, error) {
	versions, err := s.versions(alias)
	return max(slices.Max(append(versions, 0)), s.last(alias)) + 1, err
}

// Append makes the next version of an alias: make is told its number and the envelope before it (nil for none).
func (s Refs) Append(alias string, make func(version int, previous []byte) ([]byte, error)) (version int, err error) {
	unlock, err := s.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	versions, err := s.versions(alias)
	if err != nil {
		return 0, err
	}
	var previous []byte
	if len(versions) > 0 {
		version = slices.Max(versions)
		if previous, err = os.ReadFile(s.file(alias, version)); err != nil {
			return 0, fmt.Errorf("read ref: %w", err)
		}
	}
	version = max(version, s.last(alias)) + 1
	envelope, err := make(version, previous)
	if err != nil {
		return 0, err
	}
	if err := s.put(alias, version, envelope); err != nil {
		_ = durable.Remove(s.file(alias, version)) // it may stand there: who is told of a failure has no version
		return 0, err
	}
	return version, nil
}

func (s Refs) file(alias string, version int) string {
	return filepath.Join(s.dir, alias, strconv.Itoa(version))
}

func (s Refs) put(alias string, version int, envelope []byte) error {
	if err := s.write(s.file(alias, version), envelope); err != nil {
		return fmt.Errorf("write ref: %w", err)
	}
	return nil
}

// write puts a file into the directory of an alias, which it makes where it must.
func (s Refs) write(path string, content []byte) error {
	if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return durable.Replace(path, content, 0o600)
}

func (s Refs) remember(alias string, version int) error {
	if version <= s.last(alias) {
		return nil
	}
	err := durable.Replace(filepath.Join(s.dir, alias, "last"), fmt.Appendln(nil, version), 0o600)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove ref: %w", err)
	}
	return nil
}

func (s Refs) last(alias string) int {
	text, _ := os.ReadFile(filepath.Join(s.dir, alias, "last"))
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

func (s Refs) versions(alias string) ([]int, error) {
	files, err := os.ReadDir(filepath.Join(s.dir, alias))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	var versions []int
	for _, f := range files {
		if v, err := strconv.Atoi(f.Name()); err == nil && v > 0 {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

// lock waits for other processes that change refs; they hold it for a moment only.
func (s Refs) lock() (func(), error) {
	if err := durable.MkdirAll(s.dir); err != nil {
		return nil, fmt.Errorf("lock refs: %w", err)
	}
	l := durable.NewLock(filepath.Join(s.dir, "lock"))
	if err := l.Lock(); err != nil {
		return nil, fmt.Errorf("lock refs: %w", err)
	}
	return func() { _ = l.Close() }, nil
}

// Open reads every ref of the owner, by name and version. Where some are damaged it returns the others, and
// core.CodeWrong.
func (s Refs) Open(o *key.Owner) (out []Version, err error) {
	stored, err := s.List()
	if err != nil {
		return nil, err
	}
	var damaged []error
	for _, r := range stored {
		v, err := s.openRef(o, r)
		switch {
		case core.CodeOf(err) == core.CodeWrong:
			damaged = append(damaged, err)
		case err != nil:
			return nil, err
		default:
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b Version) int {
		if d := strings.Compare(a.Body.Name, b.Body.Name); d != 0 {
			return d
		}
		return a.Ref.Version - b.Ref.Version
	})
	if err = errors.Join(damaged...); err != nil {
		err = core.WithHint(core.Fail(core.CodeWrong, "%w", err), "%s", core.HintOf(damaged[0]))
	}
	return out, err
}

// Find is one version of a name; version 0 is the latest.
func (s Refs) Find(o *key.Owner, name string, version int) (Version, error) {
	alias := o.Alias(name)
	versions, err := s.versions(alias)
	if err != nil {
		return Version{}, err
	}
	if version == 0 && len(versions) > 0 {
		version = slices.Max(versions)
	}
	if !slices.Contains(versions, version) {
		return Version{}, NoSuchName(name, version)
	}
	envelope, err := os.ReadFile(s.file(alias, version))
	if err != nil {
		return Version{}, fmt.Errorf("read ref: %w", err)
	}
	return s.openRef(o, staging.StoredRef{Alias: alias, Version: version, Envelope: envelope})
}

// openRef is openRef for a ref of this directory, with the next step where it is damaged.
func (s Refs) openRef(o *key.Owner, r staging.StoredRef) (Version, error) {
	v, err := OpenRef(o, r)
	v.placements = filepath.Join(filepath.Dir(s.dir), "placements")
	if core.CodeOf(err) == core.CodeWrong {
		err = core.WithHint(err, "what it names cannot be found here without it, nor is it swept; bring it back from "+
			"a copy of %s, or remove "+
			"the file: a placed version is at its peers still (bkp ls --remote)", s.file(r.Alias, r.Version))
	}
	return v, err
}

// NoSuchName is the error of who finds no such name or version here; version 0 is any.
func NoSuchName(name string, version int) error {
	if version > 0 {
		name = fmt.Sprintf("%s@%d", name, version)
	}
	return core.WithHint(core.Fail(core.CodeNoName, "no such name here: %s", core.Printable(name)),
		"bkp ls lists the names")
}

// OpenRef opens a stored ref of the owner; core.CodeWrong where it is damaged or another's.
func OpenRef(o *key.Owner, r staging.StoredRef) (v Version, err error) {
	v.envelope, v.Offloaded = r.Envelope, r.Away
	if v.Ref, err = key.OpenRef(r.Envelope); err != nil {
		return v, core.Fail(core.CodeWrong, "ref %s.%d: %w", r.Alias, r.Version, err)
	}
	if v.Ref.Owner != o.ID() || v.Ref.Alias != r.Alias || v.Ref.Version != r.Version {
		return v, core.Fail(core.CodeWrong, "ref %s.%d: it is of another owner, name or version", r.Alias, r.Version)
	}
	v.Body, err = o.OpenRefBody(v.Ref)
	return v, err
}

// Newest is the newest version of a name that can be read here.
func (d Dir) Newest(o *key.Owner, name string) (Version, bool) {
	v, err := d.Refs().Find(o, name, 0)
	return v, err == nil
}

// isOf tells whether a version that was split now would be the same. A mode that is not known is none other.
func (v Version) isOf(body key.RefBody) bool {
	return v.Body.Root.Hash == body.Root.Hash && (v.Body.Mode == body.Mode || v.Body.Mode == 0 || body.Mode == 0)
}

// Title is how a person names the version: NAME@VERSION.
func (v Version) Title() string {
	return fmt.Sprintf("%s@%d", core.Printable(v.Body.Name), v.Ref.Version)
}
