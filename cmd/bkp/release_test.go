// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestReleaseBefore runs nodes of this release and of the one before it with each other, in every mixture. The other
// binary comes out of the repository's history; scripts/release-before names the commit.
func TestReleaseBefore(t *testing.T) {
	if testing.Short() {
		t.Skip("runs without -short")
	}
	t.Parallel()
	build := exec.CommandContext(t.Context(), filepath.Join("..", "..", "scripts", "release-before"))
	var words strings.Builder
	build.Stderr = &words
	out, err := build.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 77 {
		t.Skip(words.String())
	}
	if err != nil {
		t.Fatalf("%v: %s", err, words.String())
	}
	before := strings.TrimSpace(string(out))
	for _, chain := range [][3]string{
		{"bkp-before", "bkp", "bkp"}, {"bkp", "bkp-before", "bkp"}, {"bkp", "bkp", "bkp-before"},
		{"bkp", "bkp-before", "bkp-before"}, {"bkp-before", "bkp", "bkp-before"}, {"bkp-before", "bkp-before", "bkp"},
	} {
		hello := `HELLO","v":1`
		if chain[0] == "bkp" && chain[1] == "bkp" {
			hello = `HELLO","v":2`
		}
		t.Run(strings.Join(chain[:], "→"), func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir: filepath.Join("testdata", "release-before"),
				Setup: func(env *testscript.Env) error {
					bin := filepath.Join(env.WorkDir, "bin")
					env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
					for i, role := range []string{"SOURCE", "MIDDLE", "TARGET"} {
						env.Setenv(role, chain[i])
					}
					env.Setenv("HELLO", hello)
					if err := errors.Join(os.Mkdir(bin, 0o700),
						os.Symlink(before, filepath.Join(bin, "bkp-before"))); err != nil {
						return err
					}
					return storyEnv(env)
				},
				Cmds: storyCommands,
			})
		})
	}
}
