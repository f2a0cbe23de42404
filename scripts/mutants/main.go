// SPDX-License-Identifier: Apache-2.0

// Command mutants takes every sync out of the program, one at a time, and runs the power-loss tests: each must be
// missed by one of them.
//
//	go run ./scripts/mutants                         all of them; the last line is: sites N caught N survived 0
//	go run ./scripts/mutants core/ledger dir.go:54   those whose place contains one of these
//
// A site is a call of Sync, SyncDir or a Barrier in the rooms that write below a data directory, and the databases'
// NoSync. The tree stays as it is: a mutant is laid over it (go test -overlay).
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// rooms are looked through; tested are the packages whose tests are run, that of the site first.
var (
	rooms = []string{"core/durable", "core/ledger", "core/storage/disk", "core/storage/disk/collect",
		"core/storage/disk/index", "core/storage/disk/pack", "core/storage/disk/writers", "core/storage/holdings", "core/storage/s3",
		"core/file", "core/keep", "core/place", "core/placements", "core/staging", "core/commands", "cmd/bkp", "cmd/bkp/command",
		"cmd/bkp/datadir", "cmd/bkp/datadir/mend", "cmd/bkp/volume/overlay", "plugins"}
	tested = []string{"core/durable", "core/ledger", "core/storage/disk", "core/storage/holdings", "core/storage/s3", "core/file", "core/place",
		"core/placements", "core/commands", "cmd/bkp", "cmd/bkp/volume/overlay"}
)

// states is how many power losses are tried for a mutant, in all tests: first a few, since most are caught by those.
var states = []string{"2000", "10000"}

// limit is how long the tests of one package may take for one mutant.
const limit = 30 * time.Minute

func main() {
	survived, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
	if survived > 0 {
		os.Exit(1)
	}
}

func run(wanted []string) (survived int, err error) {
	var all []site
	for _, room := range rooms {
		found, err := sitesIn(room)
		if err != nil {
			return 0, err
		}
		all = append(all, found...)
	}
	all = slices.DeleteFunc(all, func(s site) bool {
		return len(wanted) > 0 && !slices.ContainsFunc(wanted,
			func(w string) bool { return strings.Contains(s.String(), w) })
	})
	scratch, err := os.MkdirTemp("", "bkp-mutants-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(scratch)
	for _, s := range all {
		began := time.Now()
		by, err := s.caughtBy(scratch)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s, err)
		}
		if by == "" {
			survived++
			by = "SURVIVED"
		}
		fmt.Printf("%-34s %-44s %s (%.0f s)\n", s, s.what, by, time.Since(began).Seconds())
	}
	fmt.Printf("sites %d caught %d survived %d\n", len(all), len(all)-survived, survived)
	return survived, nil
}

// caughtBy lays the mutant over the tree and returns the first test that fails; "" where none does.
func (s site) caughtBy(scratch string) (test string, err error) {
	mutant := filepath.Join(scratch, "mutant.go")
	if err := os.WriteFile(mutant, s.mutant, 0o600); err != nil {
		return "", err
	}
	original, err := filepath.Abs(s.file)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutant}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(scratch, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return "", err
	}
	own := filepath.ToSlash(filepath.Dir(s.file))
	packages := slices.Clone(tested)
	if at := slices.Index(packages, own); at >= 0 {
		packages = slices.Insert(slices.Delete(packages, at, at+1), 0, own)
	}
	for _, budget := range states {
		for _, p := range packages {
			if test, err = failing(overlay, p, own, budget); test != "" || err != nil {
				return test, err
			}
		}
	}
	return "", nil
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// failing runs the power-loss tests of a package, where it is made of the mutated one.
func failing(overlay, pkg, mutated, budget string) (name string, err error) {
	deps, err := exec.Command("go", "list", "-deps", "-test", "./"+pkg).Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	if !regexp.MustCompile(`(?m)/` + regexp.QuoteMeta(mutated) + `( |$)`).Match(deps) {
		return "", nil
	}
	test := exec.Command("go", "test", "-count=1", "-failfast", "-run", "PowerLoss", "-timeout", limit.String(),
		"-overlay", overlay, "./"+pkg)
	test.Env = append(os.Environ(), "BKP_POWER_STATES="+budget)
	out, err := test.CombinedOutput()
	if err == nil {
		return "", nil
	}
	found := failed.FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("no test says why:\n%s", out)
	}
	return string(found[1]), nil
}
