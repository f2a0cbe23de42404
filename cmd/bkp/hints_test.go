// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
)

// named finds commands of bkp in a text: after ": ", "with ", a quote, at the beginning of a line, or behind a pipe.
var named = regexp.MustCompile(`(?m)(?:^|[|:;("'] ?|with |by |by: |\$ )bkp ([a-z][a-z-]*)((?: +[^ \n|;)"']+)*)`)

// notCommand is what names a format or a key.
var notCommand = regexp.MustCompile(`^bkp( [a-z]+)+ v?\d+|^bkp (v|kept|pin|condemned|index)\b`)

// Every command that a hint, a help text or an example names is one, with flags that it knows.
func TestNamedCommandsExist(t *testing.T) {
	found := 0
	look := func(where, text string) {
		if notCommand.MatchString(text) {
			return
		}
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if m[1] == "help" || isProse(m[1]) {
				continue
			}
			found++
			con := &render.Console{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}
			argv := []string{"bkp", m[1]}
			for word := range strings.FieldsSeq(m[2]) {
				plain := strings.TrimRight(word, ".,?:")
				argv = append(argv, plain)
				if plain != word { // the sentence goes on, or ends
					break
				}
			}
			if err := checkNamed(argv, con); err != nil {
				t.Errorf("%s: %q: %v", where, m[0], err)
			}
		}
	}
	for _, root := range []string{".", "../../core", "../../plugins"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if b, ok := n.(*ast.BinaryExpr); ok && b.Op == token.ADD {
					look(path, joined(b))
					return false
				}
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					look(path, joined(l))
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for word, hint := range line.Elsewhere() {
		look("elsewhere "+word, hint)
	}
	if found < 100 {
		t.Errorf("found %d named commands: does the test look in the right place?", found)
	}
}

// joined is a string that stands in pieces.
func joined(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		return joined(e.X) + joined(e.Y)
	}
	return ""
}

// checkNamed reads a line as a person would give it.
func checkNamed(argv []string, con *render.Console) error {
	app := newApp(con)
	_, err := line.Parse(app, argv)
	return err
}

// isProse tells words that follow the program's name in sentences.
func isProse(word string) bool {
	switch word {
	case "is", "and", "or", "itself", "splits", "knows", "speaks", "starts", "runs", "keeps", "needs", "has", "gives", "of",
		"v", "in", "on", "at", "seal", "gear", "alias", "nonce", "can", "may", "does", "with", "there":
		return true
	}
	return false
}
