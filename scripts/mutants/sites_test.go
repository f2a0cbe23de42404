// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSites finds every sync of a file, and takes out that one alone.
func TestSites(t *testing.T) {
	source := `package x

func f(s store) error {
	s.Barrier()
	if err := durable.SyncDir(s.dir); err != nil {
		return err
	}
	bbolt.Open(&bbolt.Options{NoSync: false})
	return errors.Join(s.file.Sync(), s.Async(), Sync)
}
`
	sites, err := sitesOf("x.go", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sites {
		got = append(got, s.String()+" "+s.what)
		if strings.Count(string(s.mutant), "if false")+strings.Count(string(s.mutant), "NoSync: true") != 1 {
			t.Errorf("%s: its mutant is\n%s", s, s.mutant)
		}
		if _, err := sitesOf("x.go", s.mutant); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	want := "x.go:4 s.Barrier(); x.go:5 durable.SyncDir(s.dir); x.go:8 NoSync: false; x.go:9 s.file.Sync()"
	if strings.Join(got, "; ") != want {
		t.Errorf("sites are %q, want %q", got, want)
	}
}

// TestRoomsAreAllThatSync finds no sync in a room that is not looked through.
func TestRoomsAreAllThatSync(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	found := 0
	for _, top := range []string{"core", "cmd", "plugins"} {
		err := filepath.WalkDir(top, func(dir string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return err
			}
			if e.Name() == "testdata" || strings.HasSuffix(e.Name(), "test") ||
				filepath.ToSlash(dir) == "plugins/engines" { // what engines keep is in no data directory, nor of a recorder's
				return filepath.SkipDir
			}
			sites, err := sitesIn(dir)
			if err != nil {
				return err
			}
			known := slices.Contains(rooms, filepath.ToSlash(dir))
			if found += len(sites); len(sites) > 0 && !known {
				t.Errorf("%s: %s is in none of the rooms", sites[0], sites[0].what)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 30 {
		t.Errorf("only %d syncs are found", found)
	}
}
