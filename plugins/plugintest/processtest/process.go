// SPDX-License-Identifier: Apache-2.0

// Package processtest runs the suite of plugintest against a plugin in a process of its own.
package processtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

// Build builds the main package pkg (as go build takes it) into a folder of the test and returns the executable.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), filepath.Base(pkg))
	build := exec.Command("go", "build", "-o", file, pkg)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		t.Fatalf("build %s: %v", pkg, err)
	}
	return file
}

// Strategy runs the suite against a strategy in a process of its own. The last part of pkg is bkp-strategy-NAME.
func Strategy(t *testing.T, pkg string) {
	t.Helper()
	host, name := host(t, pkg, plugins.KindStrategy)
	s, err := host.Strategy(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	plugintest.Strategy(t, s)
}

// Verifier runs the suite against a verifier in a process of its own. The last part of pkg is bkp-verifier-NAME.
func Verifier(t *testing.T, pkg string, cases ...plugintest.Case) {
	t.Helper()
	host, name := host(t, pkg, plugins.KindVerifier)
	v, err := host.Verifier(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	plugintest.Verifier(t, v, cases...)
}

func host(t *testing.T, pkg string, kind plugins.Kind) (*plugins.Host, string) {
	t.Helper()
	file := Build(t, pkg)
	name, ok := strings.CutPrefix(filepath.Base(file), plugins.Name{Kind: kind}.File())
	if !ok {
		t.Fatalf("%s is not named bkp-%s-NAME", pkg, kind)
	}
	return &plugins.Host{Path: []string{filepath.Dir(file)}, Lock: filepath.Join(filepath.Dir(file), "bkp.lock.toml")},
		name
}
