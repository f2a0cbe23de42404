// SPDX-License-Identifier: Apache-2.0

package scaffold

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/plugins/contract"
)

// What the kit is made of is what bkp is made of.
func TestVersionsAreThoseOfBkp(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(goVersions) {
		if !strings.Contains(string(text), line) {
			t.Errorf("go.mod does not say %s", strings.TrimSpace(line))
		}
	}
}

// The folder of a new plugin has what its author needs, and nothing of another kind.
func TestFolderIsWhole(t *testing.T) {
	t.Parallel()
	for _, kind := range contract.Kinds {
		n := contract.Name{Kind: kind, Name: "mine"}
		for language, want := range map[string][]string{
			"go":     {"go.mod", "main.go", "main_test.go", "kit/go.mod", "kit/core/strategy.go", "kit/plugins/serve/serve.go"},
			"python": {"__main__.py", "test_mine.py", "bkp_plugin/__init__.py", "bkp_plugin/_serve.py"},
			"ruby":   {"main.rb", "test_mine.rb", "bkp_plugin.rb", "bkp_plugin/serve.rb", "bkp_plugin/descriptors.rb"},
		} {
			folder := filepath.Join(t.TempDir(), n.File())
			if _, err := New(folder, n, language); err != nil {
				t.Fatal(err)
			}
			for _, name := range want {
				text, err := os.ReadFile(filepath.Join(folder, name))
				if err != nil {
					t.Error(err)
				}
				if base := filepath.Base(name); base == "main.go" || base == "__main__.py" || base == "main.rb" {
					says := strings.Replace(string(text), " is an engine", " is a engine", 1)
					if !strings.Contains(says, n.File()+" is a "+string(kind)) || strings.Contains(string(text), "NAME") {
						t.Errorf("%s:\n%s", name, text)
					}
				}
			}
			if _, err := New(folder, n, language); err == nil {
				t.Errorf("%s is written over", folder)
			}
		}
	}
}

// The example builds on the modules of this checkout, in their versions.
func TestGoExampleBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("links a program")
	}
	t.Parallel()
	n := contract.Name{Kind: contract.KindVerifier, Name: "mine"}
	folder := filepath.Join(t.TempDir(), n.File())
	if _, err := New(folder, n, "go"); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"go.sum": "go.sum", "go.mod": "kit/go.mod"} { // every version as it is here
		text, err := os.ReadFile(filepath.Join("../../..", from))
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, to), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	test := exec.Command("go", "vet", "-mod=mod", ".")
	test.Dir = folder
	test.Env = append(os.Environ(), "GOFLAGS=", "GOSUMDB=off", "GOWORK=off")
	if out, err := test.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
