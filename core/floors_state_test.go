// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestFloorsState holds that only events have the state of a node: no Node leads to it, and what runs beside the loop
// takes none along.
func TestFloorsState(t *testing.T) {
	fset := token.NewFileSet()
	var files []*ast.File
	eachFile(t, func(room, name string, _ *ast.File) {
		if room == "core/node" {
			f, err := parser.ParseFile(fset, path.Join("..", name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	})
	for _, leak := range stateLeaks(t, fset, files, compiled(t, "./node")) {
		t.Error(leak)
	}
}

// TestFloorsSeeState makes sure that the test above can fail.
func TestFloorsSeeState(t *testing.T) {
	const node = `package x
type Node struct {}
func (n *Node) Act(func()) {}
func (n *Node) post(func(*state)) {}
func (n *Node) ask(func(*state)) {}
type state struct { *Node; senders map[int]*sender }
type sender struct { n *state }
type incoming struct { done func() }
func (n *state) loop() {}
func (n *state) look() {}
`
	for _, c := range []struct{ code, want string }{
		{`func (n *state) f() { node := n.Node; n.Act(func() { node.post(func(n *state) { n.look() }) }) }`, ``},
		{`func f() { s := &state{}; s.Act(s.loop) }`, ``},
		{`func f(n *Node) incoming { return incoming{done: func() { n.post(nil) }} }`, ``},
		{`func (n *state) f() { n.Act(func() { n.post(nil) }) }`, `x.go:11: n goes to a goroutine`},
		{`func (n *state) f() { n.Act(n.look) }`, `x.go:11: n goes to a goroutine`},
		{`func f(l *sender) { go func() { l.n = nil }() }`, `x.go:11: l goes to a goroutine`},
		{`func (n *state) f() *incoming { return &incoming{done: n.look} }`, `x.go:11: n goes to a goroutine`},
		{`func f(n *state) any { return incoming{done: func() { n.look() }} }`, `x.go:11: n goes to a goroutine`},
		{`var last map[int][]*sender`, `last leads to state`},
		{`var all []Node; type M struct { Node; l sender }`, ``},
		{`func (n *state) f() { n.ask(nil) }`, `x.go:11: an event asks, and waits for itself`},
		{`func f() { _ = &state{}; _ = new(state) }`, `2 states are made`},
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", node+c.code, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(stateLeaks(t, fset, []*ast.File{f}, nil), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.code, got, c.want)
		}
	}
}

// stateLeaks lists the ways by which the type state of a package may get to others than events.
func stateLeaks(t *testing.T, fset *token.FileSet, files []*ast.File, imports types.Importer) []string {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
	l := leaks{fset: fset, info: info}
	pkg, err := (&types.Config{Importer: imports}).Check("x", fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	l.state = pkg.Scope().Lookup("state")
	for _, name := range pkg.Scope().Names() {
		o := pkg.Scope().Lookup(name)
		if _, global := o.(*types.Var); (global || name == "Node") && l.leads(o.Type(), map[types.Type]bool{}) {
			l.found = append(l.found, name+" leads to state")
		}
	}
	if len(l.found) > 0 {
		return l.found // and with it all that has one
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool { l.visit(n); return true })
	}
	if l.made > 1 {
		l.found = append(l.found, fmt.Sprintf("%d states are made", l.made))
	}
	return l.found
}

// starters are the methods and functions that run what they are given in a goroutine.
var starters = []string{"Act", "Go", "AfterFunc"}

// leaks are those of one package, as they are found.
type leaks struct {
	fset  *token.FileSet
	info  *types.Info
	state types.Object
	made  int // states
	found []string
}

func (l *leaks) visit(n ast.Node) {
	switch n := n.(type) {
	case *ast.GoStmt:
		l.beside(n.Call)
	case *ast.CallExpr:
		switch f := n.Fun.(type) {
		case *ast.SelectorExpr:
			if f.Sel.Name == "ask" && types.Identical(l.info.Types[f.X].Type, types.NewPointer(l.state.Type())) {
				l.add(n, "an event asks, and waits for itself")
			}
			for _, arg := range n.Args {
				if slices.Contains(starters, f.Sel.Name) {
					l.beside(arg)
				}
			}
		case *ast.Ident:
			if f.Name == "new" && l.info.Types[n.Args[0]].Type == l.state.Type() {
				l.made++
			}
		}
	case *ast.CompositeLit:
		if l.info.Types[n].Type == l.state.Type() {
			l.made++
		}
	case *ast.KeyValueExpr: // a function that is kept may be called anywhere
		switch v := n.Value.(type) {
		case *ast.FuncLit:
			l.beside(v)
		case *ast.SelectorExpr:
			if _, method := l.info.Uses[v.Sel].(*types.Func); method {
				l.beside(v)
			}
		}
	}
}

// beside looks for what leads to the state in what runs beside the loop.
func (l *leaks) beside(e ast.Node) {
	if method, ok := e.(*ast.SelectorExpr); ok && method.Sel.Name == "loop" {
		return // is what has the state
	}
	ast.Inspect(e, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		if !ok {
			return true
		}
		v, ok := l.info.Uses[id].(*types.Var)
		if !ok || v.IsField() || e.Pos() <= v.Pos() && v.Pos() < e.End() {
			return true
		}
		if l.leads(v.Type(), map[types.Type]bool{}) {
			l.add(id, id.Name+" goes to a goroutine")
		}
		return true
	})
}

func (l *leaks) add(at ast.Node, what string) {
	p := l.fset.Position(at.Pos())
	l.found = append(l.found, fmt.Sprintf("%s:%d: %s", path.Base(p.Filename), p.Line, what))
}

// leads reports whether who has a value of a type has the state, by its fields and elements. It looks into no other
// package, function or interface.
func (l *leaks) leads(t types.Type, seen map[types.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	leads := func(t types.Type) bool { return l.leads(t, seen) }
	switch t := t.(type) {
	case *types.Named:
		return t.Obj() == l.state || slices.ContainsFunc(slices.Collect(t.TypeArgs().Types()), leads) ||
			t.Obj().Pkg() == l.state.Pkg() && leads(t.Underlying())
	case *types.Struct:
		return slices.ContainsFunc(slices.Collect(t.Fields()), func(f *types.Var) bool { return leads(f.Type()) })
	case *types.Map:
		return leads(t.Key()) || leads(t.Elem())
	case interface{ Elem() types.Type }:
		return leads(t.Elem())
	}
	return false
}

// compiled imports what a package needs as the go command built it.
func compiled(t *testing.T, pkg string) types.Importer {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", pkg).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	built := map[string]string{}
	for line := range bytes.Lines(out) {
		of, file, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		built[of] = file
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(built[path])
	})
}
