// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
)

const (
	askEnv = "BKP_TEST_ASK" // makes the test binary a host that asks one strategy in the folder of dirEnv, and ends
	dirEnv = "BKP_TEST_DIR"
)

// askOne asks a strategy, and tells the code of what came of it, by how much the memory of this process grew, and the
// words.
func askOne(name, dir string) {
	h := &plugins.Host{Path: []string{dir}, StartTimeout: 5 * time.Second, CallTimeout: 5 * time.Second}
	if name == "bomb" { // it may take long on a busy machine until it has started so many
		h.CallTimeout = 30 * time.Second
	}
	before := memoryOf("VmRSS")
	s, err := h.Strategy(context.Background(), name)
	if err == nil {
		_, err = s.Score(context.Background(), three)
	}
	plugins.Cleanup()
	fmt.Printf("%d %d %v\n", core.CodeOf(err), memoryOf("VmHWM")-before, err)
}

// memoryOf is a figure of this process that the kernel keeps, in KiB.
func memoryOf(what string) int {
	text, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(text), what+":")
	n, _ := strconv.Atoi(strings.Fields(after + " 0")[0])
	return n
}

// Whatever a plugin does, its host ends what it asked in time with code 20, does not grow, and leaves nothing running.
func TestHostIsSafe(t *testing.T) {
	for name, words := range map[string]string{
		"hangs":    "no answer within 5s",
		"stall":    "not ready within 5s",
		"crashes":  "its process ended: exit status 3",
		"panics":   "panic: out of beans",
		"garbage":  "start it",
		"nan":      "is not a number",
		"negative": "is negative",
		"few":      "2 entries for 3",
		"many":     "4 entries for 3",
		"large":    "4 MiB answered at most",
		"huge":     "its process ended: exit status 2: ", // which words Go finds without memory differs
		"bomb":     "processes, and may have 64",
		"noisy":    "no answer within 5s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := misbehaving(t, "bkp-strategy-"+name).Path[0]
			host := exec.Command(os.Args[0])
			host.Env = append(os.Environ(), askEnv+"="+name, dirEnv+"="+dir)
			var said bytes.Buffer
			host.Stdout = &said
			begun := time.Now()
			err := host.Run()
			took := time.Since(begun)
			var code, grown int
			if _, bad := fmt.Sscan(said.String(), &code, &grown); bad != nil || err != nil {
				t.Fatalf("%v, %v: %s", err, bad, said.String())
			}
			if code != int(core.CodePlugin) || !strings.Contains(said.String(), words) {
				t.Errorf("want code 20 and %q, got %s", words, said.String())
			}
			if took > 15*time.Second && name != "bomb" {
				t.Errorf("took %s", took)
			}
			if grown > 64<<10 {
				t.Errorf("the host has grown by %d MiB", grown>>10)
			}
			started := "sleep\x001000" // and its own number; see bomb
			if name != "bomb" {
				started = dir
			}
			if left := running(dir, started); len(left) > 0 {
				t.Errorf("left running: %q", left)
			}
		})
	}
}

// running are the processes whose command has one of the words.
func running(words ...string) (found []string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		text, _ := os.ReadFile(path)
		for _, w := range words {
			if bytes.Contains(text, []byte(w)) {
				found = append(found, string(text))
			}
		}
	}
	return found
}

// What a plugin started ends with it, also where it took a session of its own, forgot its environment and lost its
// parent.
func TestNothingEscapes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := scripted(t, "env -i PATH=\"$PATH\" setsid sh -c 'echo $$ >"+dir+"/one; exec sleep 77777' >/dev/null 2>&1 &",
		"while ! [ -s "+dir+"/one ]; do :; done", "exit 3")
	_, err := h.Strategy(t.Context(), "script")
	says(t, err, "no handshake, exit status 3")
	text, err := os.ReadFile(filepath.Join(dir, "one"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid == 0 {
		t.Fatalf("the script was not run: %v", err)
	}
	if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); err == nil {
		t.Errorf("process %d is still there", pid)
	}
}

// A strategy cannot open what lies in the data directory, though its own file does; all else it can.
func TestDataIsHiddenFromPlugins(t *testing.T) {
	t.Parallel()
	if version, _, no := syscall.Syscall(444, 0, 0, 1); no != 0 || version < 1 {
		t.Skip("the kernel has no Landlock")
	}
	root := t.TempDir()
	data := filepath.Join(root, "data")
	dir := filepath.Join(data, "plugins")
	for _, name := range []string{dir, filepath.Join(data, "sub"), filepath.Join(data, "sockets")} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"data/secret", "data/sub/secret", "beside"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(misbehaving(t, "bkp-strategy-curious").Path[0], "bkp-strategy-curious"),
		filepath.Join(dir, "bkp-strategy-curious")); err != nil {
		t.Fatal(err)
	}
	for hidden, want := range map[string]string{
		"":   "[../secret true ../sub/secret true ../../beside true]",
		data: "[../secret false ../sub/secret false ../../beside true]",
	} {
		h := &plugins.Host{Path: []string{dir}, Hidden: hidden, Sockets: filepath.Join(data, "sockets")}
		s, err := h.Strategy(t.Context(), "curious")
		if err != nil {
			t.Fatal(err)
		}
		scores, err := s.Score(t.Context(), three)
		s.Close()
		if got := fmt.Sprint(scores.Explain); err != nil || got != want {
			t.Errorf("with %q hidden: %s, %v", hidden, got, err)
		}
	}
}
