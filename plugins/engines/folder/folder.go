// SPDX-License-Identifier: Apache-2.0

// Package folder is the engine whose order is files in a folder that all its nodes reach: of one machine, or on a
// network drive.
//
//	[plugin.engine.folder]
//	folder = "/srv/bkp-order"
//
// An entry is a file SCOPE/NUMBER.entry. It is written beside its place and linked there, which fails where there is
// one: the file system compares and swaps. Who loses the folder loses the order; engines that keep it on several
// machines are etcd and cometbft.
package folder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

// New is the engine. It keeps nothing before it is configured.
func New() core.Engine { return &folder{} }

type folder struct {
	Folder string `json:"folder" about:"the folder that all nodes of the order reach, by its whole path"`

	mu   sync.Mutex
	seen map[string]int64 // entries of a scope that are known to be there: none ever goes
}

func (f *folder) Describe(context.Context) (core.EngineInfo, error) {
	return core.EngineInfo{Name: "folder", Version: "1.0.0", Summary: "keeps the order in a folder that all its nodes reach",
		Settings: serve.Settings(&folder{})}, nil
}

func (f *folder) Configure(_ context.Context, config []byte) error {
	if err := json.Unmarshal(config, f); err != nil {
		return err
	}
	if f.Folder != "" && !filepath.IsAbs(f.Folder) {
		return fmt.Errorf("folder %q: want a whole path", f.Folder)
	}
	return nil
}

// Append links the entry into its place.
func (f *folder) Append(_ context.Context, scope string, after int64, entry []byte) (core.Appended, error) {
	entries, err := f.count(scope)
	if err != nil || entries != after {
		return core.Appended{Entries: entries}, err
	}
	dir := f.dir(scope)
	if err := f.make(scope); err != nil {
		return core.Appended{}, err
	}
	beside, err := written(dir, entry)
	if err != nil {
		return core.Appended{}, err
	}
	defer os.Remove(beside)
	switch err := os.Link(beside, f.path(scope, after+1)); {
	case errors.Is(err, fs.ErrExist):
		entries, err := f.count(scope)
		return core.Appended{Entries: entries}, err
	case err != nil:
		return core.Appended{}, err
	}
	return core.Appended{OK: true, Entries: after + 1}, syncDir(dir)
}

// Read reads entries, one file each.
func (f *folder) Read(_ context.Context, scope string, after int64, limit int) (entries [][]byte, err error) {
	const most = 1 << 20 // bytes, of the contract
	if _, err := f.count(scope); err != nil {
		return nil, err
	}
	for bytes := 0; len(entries) < limit; {
		entry, err := os.ReadFile(f.path(scope, after+int64(len(entries))+1))
		if errors.Is(err, fs.ErrNotExist) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		if bytes += len(entry); bytes > most && len(entries) > 0 {
			return entries, nil
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func (f *folder) dir(scope string) string { return filepath.Join(f.Folder, filepath.FromSlash(scope)) }

// path is that of an entry: no scope has a word with a dot.
func (f *folder) path(scope string, number int64) string {
	return filepath.Join(f.dir(scope), fmt.Sprintf("%016d.entry", number))
}

// count is how many entries a scope has. A folder that is not there is an error, for it may be a drive that is away.
func (f *folder) count(scope string) (int64, error) {
	if f.Folder == "" {
		return 0, errors.New("no folder is set")
	}
	if _, err := os.Stat(f.Folder); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = map[string]int64{}
	}
	for {
		_, err := os.Stat(f.path(scope, f.seen[scope]+1))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return f.seen[scope], nil
		case err != nil:
			return 0, err
		}
		f.seen[scope]++
	}
}

// make makes the folder of a scope, durably.
func (f *folder) make(scope string) error {
	dir := f.dir(scope)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o770); err != nil {
		return err
	}
	for ; dir != f.Folder; dir = filepath.Dir(dir) {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

// written is a new file with the entry, durable but for its name.
func written(dir string, entry []byte) (path string, err error) {
	out, err := os.CreateTemp(dir, "new.*")
	if err != nil {
		return "", err
	}
	_, err = out.Write(entry)
	if err == nil {
		err = out.Sync()
	}
	if err == nil {
		err = out.Chmod(0o640)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(out.Name())
	}
	return out.Name(), err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
