// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

// watched is what a Watch was told last.
type watched struct {
	mu    sync.Mutex
	gone  error
	times int
}

func (w *watched) tell(_ plugins.Name, gone error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = gone
	w.times++
}

// until waits for word that has the given part, or that all is well where that is empty.
func (w *watched) until(t *testing.T, part string) {
	t.Helper()
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		times := w.times
		last = w.gone
		w.mu.Unlock()
		if times > 0 && (part == "" && last == nil || part != "" && last != nil &&
			strings.Contains(last.Error(), part)) {
			return
		}
	}
	t.Fatalf("told %v, want %q", last, part)
}

func keep(t *testing.T, h *plugins.Host, name string) (*plugins.KeptVerifier, *watched) {
	t.Helper()
	w := &watched{}
	k, err := h.KeepVerifier(t.Context(), name, w.tell)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k, w
}

// pid asks the verifier pid, whose reason is the number of its process and whose code the configuration that it was
// given.
func pid(t *testing.T, k *plugins.KeptVerifier) (pid, config string) {
	t.Helper()
	verdict, err := k.Verify(t.Context(), core.VerifyRequest{})
	if err != nil || verdict.OK {
		t.Fatalf("%+v, %v", verdict, err)
	}
	return verdict.Reason, verdict.Code
}

func kill(t *testing.T, pid string, s syscall.Signal) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, s); err != nil {
		t.Fatal(err)
	}
}

// stop returns once no thread of the process runs any more: the kernel tells one of them, and another may answer until
// that one has run.
func stop(t *testing.T, pid string) {
	t.Helper()
	kill(t, pid, syscall.SIGSTOP)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		running := 0
		threads, err := filepath.Glob(filepath.Join("/proc", pid, "task", "*", "stat"))
		for _, thread := range threads {
			stat, _ := os.ReadFile(thread)
			_, state, _ := bytes.Cut(stat, []byte(") "))
			if !bytes.HasPrefix(state, []byte("T")) {
				running++
			}
		}
		if err == nil && len(threads) > 0 && running == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d threads still run, %v", running, len(threads), err)
		}
	}
}

func TestVerifierThatEndsIsStartedAgain(t *testing.T) {
	t.Parallel()
	k, w := keep(t, misbehaving(t, "bkp-verifier-pid"), "pid")
	if err := k.Configure(t.Context(), []byte("strict")); err != nil {
		t.Fatal(err)
	}
	before, _ := pid(t, k)
	kill(t, before, syscall.SIGKILL)
	w.until(t, "verifier pid: its process ended: signal: killed")
	began := time.Now()
	after, config := pid(t, k) // asked meanwhile, it waits
	if took := time.Since(began); after == before || config != "strict" || took > 5*time.Second {
		t.Errorf("after %s process %s answered, configured with %q", took, after, config)
	}
	w.until(t, "")
}

func TestVerifierThatDiesOverACallIsAskedOnceMore(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-once", "bkp-verifier-mortal")
	k, w := keep(t, h, "once") // its first process ends when it is asked
	if verdict, err := k.Verify(t.Context(), core.VerifyRequest{}); err != nil || !verdict.OK {
		t.Errorf("%+v, %v", verdict, err)
	}
	w.until(t, "")
	k, _ = keep(t, h, "mortal") // each of them does
	_, err := k.Verify(t.Context(), core.VerifyRequest{})
	says(t, err, "verifier mortal: judge a licence: its process", "exit status 4")
}

func TestVerifierThatHangsIsStartedAgain(t *testing.T) {
	t.Parallel()
	for how, part := range map[string]string{"called": "no answer within 2s", "idle": "it has not answered for 5s"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			h := misbehaving(t, "bkp-verifier-pid")
			h.CallTimeout = 2 * time.Second
			k, w := keep(t, h, "pid")
			before, _ := pid(t, k)
			stop(t, before)
			if how == "idle" {
				w.until(t, part) // nobody asked it anything
			}
			if after, _ := pid(t, k); after == before {
				t.Error("it answers though it is stopped")
			}
			w.until(t, "")
			if _, err := os.Stat(filepath.Join("/proc", before)); err == nil {
				t.Errorf("process %s is still there", before)
			}
		})
	}
}

func TestAnotherFileIsNotStartedInstead(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-pid", "bkp-verifier-yes")
	k, w := keep(t, h, "pid")
	before, _ := pid(t, k)
	file := filepath.Join(h.Path[0], "bkp-verifier-pid")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(content []byte) {
		if err := os.WriteFile(file+"-new", content, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+"-new", file); err != nil {
			t.Fatal(err)
		}
	}
	replace(append(slices.Clone(good), 0))
	kill(t, before, syscall.SIGKILL)
	w.until(t, "checksums did not match")
	replace(good)
	w.until(t, "")
}

func TestClosedVerifierIsNotStartedAgain(t *testing.T) {
	t.Parallel()
	k, w := keep(t, misbehaving(t, "bkp-verifier-pid"), "pid")
	before, _ := pid(t, k)
	kill(t, before, syscall.SIGKILL)
	w.until(t, "its process ended")
	k.Close()
	w.mu.Lock()
	times := w.times
	w.mu.Unlock()
	_, err := k.Verify(t.Context(), core.VerifyRequest{})
	says(t, err, "verifier pid: its process ended")
	time.Sleep(1500 * time.Millisecond) // it would have been started by now
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.times != times {
		t.Errorf("told %v after it was closed", w.gone)
	}
}

// A plan goes on where its strategy dies once; where it dies each time, or hangs, the error says so in time.
func TestStrategyThatDiesOverACallIsAskedOnceMore(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-strategy-once", "bkp-strategy-crashes", "bkp-strategy-hangs")
	h.CallTimeout = time.Second
	for name, want := range map[string]string{"once": "", "crashes": "its process ended: exit status 3", "hangs": "no answer within 1s"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := h.KeepStrategy(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			began := time.Now()
			scores, err := s.Score(t.Context(), plugintest.Batch(1, 3))
			switch {
			case want == "" && (err != nil || len(scores.PlaceCost) != 3):
				t.Errorf("%+v, %v", scores, err)
			case want != "":
				says(t, err, want)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
