// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/plugins"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// change replaces a plugin by one with another checksum that works as well.
func change(t *testing.T, path string) {
	t.Helper()
	text := read(t, path)
	if err := os.Remove(path); err != nil { // it is a hard link
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text+"changed"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// Bad input 52: the checksum is taken at first use; a changed file is refused until it is accepted.
func TestChangedPluginIsRefused(t *testing.T) {
	h := misbehaving(t, "bkp-verifier-fine")
	file := filepath.Join(h.Path[0], "bkp-verifier-fine")
	use := func() error {
		v, err := h.Verifier(t.Context(), "fine")
		if err == nil {
			v.Close()
		}
		return err
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	kept := regexp.MustCompile(`(?m)^\[verifier\.fine\]\nsha256 = '([0-9a-f]{64})'\npath = '(.*)'$`).FindStringSubmatch(read(t, h.Lock))
	if kept == nil || kept[2] != file {
		t.Fatalf("lock file:\n%s", read(t, h.Lock))
	}
	if err := use(); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	change(t, file)
	before := read(t, h.Lock)
	err := use()
	says(t, err, "verifier fine: "+file+" has changed: expected sha256 "+kept[1]+", found ", "bkp plugin lock fine",
		"remove [verifier.fine] from "+h.Lock)
	if read(t, h.Lock) != before {
		t.Error("a refused plugin changed the lock file")
	}
	if f, err := h.Relock(plugins.KindVerifier, "fine"); err != nil || f.SHA256 == kept[1] {
		t.Fatalf("%+v, %v", f, err)
	}
	if err := use(); err != nil {
		t.Errorf("accepted: %v", err)
	}
}

// A plugin that was used from a file is not replaced by the one inside bkp because the file is gone.
func TestLockedPluginThatIsGone(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-strategy-seed")
	h.Inside, h.Told = []plugins.Name{{Kind: plugins.KindStrategy, Name: "seed"}}, h.Path
	s, err := h.Strategy(t.Context(), "seed")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.Remove(filepath.Join(h.Path[0], "bkp-strategy-seed")); err != nil {
		t.Fatal(err)
	}
	_, err = h.Strategy(t.Context(), "seed")
	says(t, err, "strategy seed: the plugin used before", "is gone", "to use the one inside bkp")
	if f, err := h.Relock(plugins.KindStrategy, "seed"); err != nil || !f.Inside {
		t.Fatalf("%+v, %v", f, err)
	}
	if s, err = h.Strategy(t.Context(), "seed"); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// Several processes may use plugins for the first time at once: no checksum is lost.
func TestFirstUsesAtOnce(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-a", "bkp-verifier-b", "bkp-verifier-c")
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "a", "b", "c"} {
		all.Go(func() {
			v, err := h.Verifier(t.Context(), name)
			if err != nil {
				t.Error(err)
				return
			}
			v.Close()
		})
	}
	all.Wait()
	if got := strings.Count(read(t, h.Lock), "sha256 = "); got != 3 {
		t.Errorf("%d checksums kept:\n%s", got, read(t, h.Lock))
	}
}

func TestBrokenLockFile(t *testing.T) {
	for text, word := range map[string]string{
		"version = 2\n":                            "version 2",
		"version = 1\n[strategies.x]\n":            "strict mode",
		"version = 1\n[verifier.fine]\nsha256=1\n": "bkp.lock.toml",
		"\x00": "bkp.lock.toml",
	} {
		h := misbehaving(t, "bkp-verifier-fine")
		if err := os.WriteFile(h.Lock, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := h.Verifier(t.Context(), "fine")
		says(t, err, "verifier fine: read the checksums of plugins", word)
		if read(t, h.Lock) != text {
			t.Errorf("the lock file was changed: %q", text)
		}
	}
}
