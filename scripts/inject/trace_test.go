// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the program that the tests trace: threads of its own that write and sync, each a file.
func TestMain(m *testing.M) {
	becomeTraced()
	if n, err := strconv.Atoi(os.Getenv("INJECT_TEST_THREADS")); err == nil {
		os.Exit(writeAll(n))
	}
	os.Exit(m.Run())
}

const (
	rounds = 5
	block  = 1000
)

func writeAll(threads int) int {
	failed := make([]int, threads)
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			runtime.LockOSThread()
			f, err := os.Create(strconv.Itoa(i))
			if err != nil {
				panic(err)
			}
			for round := range rounds {
				f.Write(bytes.Repeat([]byte{'x'}, block))
				switch err := f.Sync(); {
				case errors.Is(err, unix.EIO):
					failed[i]++
				case errors.Is(err, unix.ENOSPC):
					f.WriteAt(bytes.Repeat([]byte{'x'}, block), int64(round*block))
				}
			}
		})
	}
	os.Stdout.WriteString("not counted\n") // a call of the op write, and on no file below the directory
	wg.Wait()
	sum := 0
	for _, n := range failed {
		sum += n
	}
	return sum
}

// traced runs threads that sync rounds times each, in a directory of their own.
func traced(t *testing.T, threads int, r run) (outcome, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r.argv, r.dir, r.under, r.ops = []string{self}, dir, []string{dir}, ops
	r.env = append(os.Environ(), fmt.Sprint("INJECT_TEST_THREADS=", threads))
	o, err := newThread().trace(t.Context(), r)
	if errors.Is(err, errNotAllowed) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o, dir
}

func TestCallsOfAllThreadsAreCounted(t *testing.T) {
	o, _ := traced(t, 8, run{})
	if o.calls["fsync"] != 8*rounds || o.calls["write"] != 8*rounds || o.calls["create"] != 8 || o.code != 0 {
		t.Errorf("counted %v, ended with %d", o.calls, o.code)
	}
}

func TestFaults(t *testing.T) {
	const killed = 128 + int(unix.SIGKILL)
	for _, test := range []struct {
		fault          fault
		nth            int
		injected, code int // the code is how many syncs failed with EIO
	}{
		{"eio", 17, 1, 1},
		{"eio", 8*rounds + 1, 0, 0},
		{"eio-on", 17, 8*rounds - 16, 8*rounds - 16},
		{"delay-eio", 17, 1, 1},
		{"enospc", 17, 1, 0},
		{"kill-before", 17, 1, killed},
		{"kill-after", 17, 1, killed},
	} {
		t.Run(fmt.Sprint(test.fault, " at ", test.nth), func(t *testing.T) {
			begin := time.Now()
			o, dir := traced(t, 8, run{op: "fsync", nth: test.nth, fault: test.fault, delay: 100 * time.Millisecond})
			if o.injected != test.injected || o.code != test.code {
				t.Errorf("%d injected, ended with %d; want %d and %d", o.injected, o.code, test.injected, test.code)
			}
			if o.injected > 0 && filepath.Dir(o.at) != dir {
				t.Errorf("it befell %q", o.at)
			}
			if d := time.Since(begin); test.fault == "delay-eio" && d < 100*time.Millisecond {
				t.Errorf("it took %v", d)
			}
		})
	}
}

// TestKillComesBeforeOrAfter looks at the one call that shows it: the file is there, or not.
func TestKillComesBeforeOrAfter(t *testing.T) {
	for fault, want := range map[fault]bool{"kill-before": false, "kill-after": true} {
		o, dir := traced(t, 1, run{op: "create", nth: 1, fault: fault})
		_, err := os.Stat(filepath.Join(dir, "0"))
		if o.injected != 1 || (err == nil) != want {
			t.Errorf("%s: %d injected, the file: %v", fault, o.injected, err)
		}
	}
}

// TestFailedSyncLosesBytes: what the third sync was for is zeros, and no later sync brings it back.
func TestFailedSyncLosesBytes(t *testing.T) {
	_, dir := traced(t, 1, run{op: "fsync", nth: 3, fault: "eio"})
	got, err := os.ReadFile(filepath.Join(dir, "0"))
	want := bytes.Repeat([]byte{'x'}, rounds*block)
	clear(want[2*block : 3*block])
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes are x, at %d zeros: %v", bytes.Count(got, []byte{'x'}), len(got),
			bytes.IndexByte(got, 0), err)
	}
}

// TestBytesWrittenAgainLast: what a sync had failed for is written to the same place again, and the next sync is good.
func TestBytesWrittenAgainLast(t *testing.T) {
	_, dir := traced(t, 1, run{op: "fsync", nth: 3, fault: "enospc"})
	got, err := os.ReadFile(filepath.Join(dir, "0"))
	if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{'x'}, rounds*block)) {
		t.Errorf("%d of %d bytes are x, at %d zeros: %v", bytes.Count(got, []byte{'x'}), len(got),
			bytes.IndexByte(got, 0), err)
	}
}

func TestTraceEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o, err := newThread().trace(ctx, run{argv: []string{"sleep", "60"}, ops: ops, started: func(int) { cancel() }})
	if errors.Is(err, errNotAllowed) {
		t.Skip(err)
	}
	if err != nil || o.code != 128+int(unix.SIGKILL) {
		t.Errorf("ended with %d: %v", o.code, err)
	}
}

func TestCallsThatChangeNothingAreNotCounted(t *testing.T) {
	dir := t.TempDir()
	for _, command := range []string{"mkdir", "rmdir"} {
		o, err := newThread().trace(t.Context(), run{argv: []string{command, "a", "a"}, dir: dir, under: []string{dir},
			ops: ops})
		if errors.Is(err, errNotAllowed) {
			t.Skip(err)
		}
		if err != nil || o.code != 1 || o.calls["mkdir"]+o.calls["unlink"] != 1 {
			t.Errorf("%s a a ended with %d, counted %v: %v", command, o.code, o.calls, err)
		}
	}
}
