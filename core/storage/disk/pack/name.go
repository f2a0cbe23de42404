// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"fmt"
	"os"
	"path/filepath"
)

// OpenPath is where a pack stands while it is written.
func OpenPath(dir, name string) string { return filepath.Join(dir, name+".open") }

// Path is where a finished pack stands.
func Path(dir, name string) string { return filepath.Join(dir, name+".pack") }

// NameOf tells a pack by the name of its file.
func NameOf(file string) (name string, finished, ok bool) {
	const digits = 32
	if len(file) != digits+len(".pack") {
		return "", false, false
	}
	name = file[:digits]
	switch file[digits:] {
	case ".pack":
		return name, true, true
	case ".open":
		return name, false, true
	}
	return "", false, false
}

// List is the names of all packs, and whether they are finished. There may be many: nobody sorts them.
func List(dir string) (map[string]bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("read packs: %w", err)
	}
	defer d.Close()
	files, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read packs: %w", err)
	}
	there := make(map[string]bool, len(files))
	for _, file := range files {
		if name, finished, ok := NameOf(file); ok {
			there[name] = there[name] || finished
		}
	}
	return there, nil
}

// Open opens a pack for reading, under its final name or, while it is being written, its first one.
func Open(dir, name string) (*os.File, error) {
	for range 2 { // it may be renamed between the two
		if f, err := os.Open(Path(dir, name)); err == nil || !os.IsNotExist(err) {
			return f, err
		}
		if f, err := os.Open(OpenPath(dir, name)); err == nil || !os.IsNotExist(err) {
			return f, err
		}
	}
	return nil, os.ErrNotExist
}

// Rows reads the table of a finished pack.
func Rows(dir, name string) ([]Row, error) {
	f, err := os.Open(Path(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return ReadTable(f, info.Size())
}
