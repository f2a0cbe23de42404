// SPDX-License-Identifier: Apache-2.0

// Package scaffold makes the folder of a new plugin: an example that builds, its test, and the kit that this bkp
// speaks.
package scaffold

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/proto"
	"github.com/bkp-tool/bkp/plugins/python"
	"github.com/bkp-tool/bkp/plugins/ruby"
	"github.com/bkp-tool/bkp/plugins/serve"
)

//go:embed all:template
var templates embed.FS

// Languages are those in which there is an example.
var Languages = []string{"go", "python", "ruby"}

// goKit is the kit for Go: packages of bkp by their folders.
var goKit = map[string]fs.FS{"core": core.Files, "plugins/contract": contract.Files, "plugins/proto": proto.Files,
	"plugins/serve": serve.Files, "plugins/plugintest": plugintest.Files}

// New writes the folder of a new plugin, which must not exist, and returns the commands that lead from there to its
// use.
func New(folder string, n contract.Name, language string) (next []string, err error) {
	if err := os.Mkdir(folder, 0o750); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, core.WithHint(core.Fail(core.CodeUsage, "%s exists already", folder), "take another name, or remove it")
		}
		return nil, err
	}
	from, err := fs.Sub(templates, "template/"+language)
	if err != nil {
		return nil, err
	}
	words := strings.NewReplacer("NAME", n.Name, "KIND", string(n.Kind), "VERSIONS", goVersions)
	err = fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		name = strings.TrimSuffix(name, ".txt")
		if kind, rest, ok := strings.Cut(name, "."); ok && strings.HasPrefix(rest, string(n.Kind)+".") {
			name = kind + strings.TrimPrefix(rest, string(n.Kind)) // main.strategy.go is main.go of a strategy
		} else if strings.Count(name, ".") > 1 {
			return nil // of another kind
		}
		return write(folder, name, words.Replace(string(text)))
	})
	if err != nil {
		return nil, err
	}
	switch use := []string{"bkp plugin test " + folder, "bkp plugin install " + folder}; language {
	case "python":
		return append([]string{"python3 -m unittest discover " + folder}, use...), copyKit(folder, ".", python.Files)
	case "ruby":
		return append([]string{"ruby " + folder + "/test_mine.rb"}, use...), copyKit(folder, ".", ruby.Files)
	}
	for dir, source := range goKit {
		if err := copyKit(folder, path.Join("kit", dir), source); err != nil {
			return nil, err
		}
	}
	file := "./" + n.File()
	return []string{"cd " + folder, "go mod tidy", "go build", "go test", "bkp plugin test " + file, "bkp plugin install " + file}, nil
}

// copyKit writes a package without its tests.
func copyKit(folder, dir string, source fs.FS) error {
	return fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		return write(folder, path.Join(dir, name), string(text))
	})
}

func write(folder, name, text string) error {
	file := filepath.Join(folder, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil { //nolint:gosec // a source file
		return fmt.Errorf("write a new plugin: %w", err)
	}
	return nil
}

// goVersions are the modules of which the kit for Go is made, as in bkp's own go.mod.
const goVersions = `	github.com/hashicorp/go-plugin v1.8.0
	github.com/secure-systems-lab/go-securesystemslib v0.11.1
	github.com/zeebo/blake3 v0.2.4
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
`
