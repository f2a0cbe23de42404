// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// site is one sync, and the file without it.
type site struct {
	file   string // from the root of the tree
	line   int
	what   string
	mutant []byte
}

func (s site) String() string { return fmt.Sprintf("%s:%d", s.file, s.line) }

// syncs are the calls that make something durable.
var syncs = []string{"Sync", "SyncDir", "Barrier", "barrierHere"}

// elsewhere is syncs of what is no data directory and no restored file.
var elsewhere = map[string]string{
	"cmd/bkp/command/secret.go": "standard output, for the error of a full disk",
}

// sitesIn finds the sites of the files of a package as they are built here.
func sitesIn(dir string) (all []site, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		built, err := build.Default.MatchFile(dir, e.Name())
		if err != nil {
			return nil, err
		}
		file := filepath.ToSlash(filepath.Join(dir, e.Name()))
		if !built || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || elsewhere[file] != "" {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		found, err := sitesOf(file, source)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func sitesOf(file string, source []byte) (all []site, err error) {
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	add := func(n ast.Node, instead func(text string) string) {
		from, to := files.Position(n.Pos()), files.Position(n.End())
		text := string(source[from.Offset:to.Offset])
		mutant := slices.Concat(source[:from.Offset], []byte(instead(text)), source[to.Offset:])
		all = append(all, site{file, from.Line, text, mutant})
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if isSync(n) {
				add(n, never)
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "NoSync" {
				add(n, func(string) string { return "NoSync: true" })
			}
		}
		return true
	})
	return all, nil
}

// isSync is a call of a sync.
func isSync(c *ast.CallExpr) bool {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return slices.Contains(syncs, f.Name)
	case *ast.SelectorExpr:
		return slices.Contains(syncs, f.Sel.Name)
	}
	return false
}

// never is a call that is not made and says that it went well; the file still uses all that it names.
func never(call string) string {
	return "func() error { if false { return " + call + " }; return nil }()"
}
