// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestFirstCallsOfEachScene is a taste of `make faults`: the first sync and the first rename of the commands that work
// alone.
func TestFirstCallsOfEachScene(t *testing.T) {
	if _, err := newThread().trace(t.Context(), run{argv: []string{"true"}, ops: ops}); errors.Is(err, errNotAllowed) {
		t.Skip(err)
	}
	bkp := filepath.Join(t.TempDir(), "bkp")
	build := exec.Command("go", "build", "-o", bkp, "../../cmd/bkp")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("TMPDIR", t.TempDir())
	s := sweep{
		bkp: bkp, kib: 256, jobs: 2, nth: 1, every: 1, out: os.Stdout,
		scenes: []string{"split", "gc", "rm", "fetch", "fetch-over"}, ops: []op{"fsync", "rename"},
		faults: []fault{"eio", "kill-after"},
	}
	points, err := s.do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if points.bad > 0 || points.failed == 0 || points.killed == 0 {
		t.Errorf("%+v", points)
	}
}

// TestASweepSeesWhatIsWrong has it try a program that says yes to everything and does nothing.
func TestASweepSeesWhatIsWrong(t *testing.T) {
	w := &world{ctx: t.Context(), bkp: "true", dir: t.TempDir(), kib: 1, nodes: map[string]*node{}, thread: newThread()}
	if err := w.undisturbed(scenes[0], ops); errors.Is(err, errNotAllowed) {
		t.Skip(err)
	} else if err == nil {
		t.Error("nothing is wrong with a split that writes nothing")
	}
}
