// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestProtocolPage: PROTOCOL.md says of every message, and of every value in one, what the code says; -update writes
// it.
func TestProtocolPage(t *testing.T) {
	const page, mark = "PROTOCOL.md", "<!-- From here on the page is made of the code: go test -run ProtocolPage -update. -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	by, is, found := strings.Cut(string(text), mark)
	if !found {
		t.Fatalf("%s has no line %q", page, mark)
	}
	b := newBook(t)
	if want := b.messages(); is != want {
		if !*update {
			t.Fatalf("%s is not what the code says: go test ./core/wire -run ProtocolPage -update", page)
		}
		if err := os.WriteFile(page, []byte(by+mark+want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name := range codecs { // and the words by hand tell when it is said
		if !strings.Contains(by, name) {
			t.Errorf("%s does not tell when %s is said", page, name)
		}
	}
}

// book writes what types of Go say of the wire.
type book struct {
	t     *testing.T
	types map[string]*declared // by name, those of core as "core.Name"
	named []string             // structs that were referred to, to be told
	out   strings.Builder
}

type declared struct {
	doc  string
	spec *ast.TypeSpec
	in   string // "core." or ""
}

func newBook(t *testing.T) *book {
	b := &book{t: t, types: map[string]*declared{}}
	for prefix, pattern := range map[string]string{"": "*.go", "core.": "../*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				g, is := d.(*ast.GenDecl)
				if !is || g.Tok != token.TYPE {
					continue
				}
				for _, s := range g.Specs {
					spec := s.(*ast.TypeSpec)
					b.types[prefix+spec.Name.Name] = &declared{g.Doc.Text() + spec.Doc.Text(), spec, prefix}
				}
			}
		}
	}
	return b
}

// registered is the types of messages in the order in which messages.go has them.
func (b *book) registered() (names []string) {
	f, err := parser.ParseFile(token.NewFileSet(), "messages.go", nil, parser.SkipObjectResolution)
	if err != nil {
		b.t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if call, is := n.(*ast.IndexExpr); is && fmt.Sprint(call.X) == "register" {
			names = append(names, fmt.Sprint(call.Index))
		}
		return true
	})
	return names
}

// messages is all of them, and the values in them.
func (b *book) messages() string {
	wireNames := map[string]string{}
	for _, m := range slices.Concat(samples(), grown()) {
		wireNames[reflect.TypeOf(m).Name()] = m.Type()
	}
	b.out.WriteString("\n## Messages\n")
	for _, name := range b.registered() {
		of := wireNames[name]
		c := codecs[of]
		if c == nil {
			b.t.Fatalf("%s has no sample", name)
		}
		fmt.Fprintf(&b.out, "\n### %s\n\n", of)
		if c.since != "" {
			fmt.Fprintf(&b.out, "With the feature `%s`. ", c.since)
		}
		b.tell(name)
	}
	b.out.WriteString("\n## Values\n")
	for i := 0; i < len(b.named); i++ {
		fmt.Fprintf(&b.out, "\n### %s\n\n", strings.TrimPrefix(b.named[i], "core."))
		b.tell(b.named[i])
	}
	b.out.WriteString("\n## Features\n\n| feature | |\n|---|---|\n")
	for _, c := range b.constants("growth.go", "Feature") {
		if words, is := strings.CutPrefix(c[1], `"`); is && slices.Contains(Features, Feature(strings.TrimSuffix(words, `"`))) {
			fmt.Fprintf(&b.out, "| `%s` | %s |\n", strings.TrimSuffix(words, `"`), strings.TrimPrefix(c[2], c[0]+": "))
		}
	}
	b.out.WriteString("\n## Codes\n\n| code | |\n|---|---|\n")
	for _, c := range b.constants("../errors.go", "Reason") {
		fmt.Fprintf(&b.out, "| %s | %s |\n", c[1], strings.TrimSpace(strings.ToLower(c[0][len("Reason"):])+": "+c[2]))
	}
	return b.out.String()
}

// constants is those of a type in a file: their names, values, and what is said of them.
func (b *book) constants(file, of string) (rows [][3]string) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		b.t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, is := n.(*ast.ValueSpec); is && v.Type != nil && fmt.Sprint(v.Type) == of {
			words := strings.Join(strings.Fields(v.Doc.Text()+" "+v.Comment.Text()), " ")
			rows = append(rows, [3]string{v.Names[0].Name, v.Values[0].(*ast.BasicLit).Value, words})
		}
		return true
	})
	if len(rows) == 0 {
		b.t.Fatalf("%s has no constants of type %s", file, of)
	}
	return rows
}

// tell says what a struct is and has.
func (b *book) tell(name string) {
	d := b.types[name]
	short := d.spec.Name.Name
	words := strings.TrimPrefix(strings.TrimPrefix(strings.Join(strings.Fields(d.doc), " "), short+" "), "is ")
	if words != "" {
		fmt.Fprintf(&b.out, "%s\n", strings.ToUpper(words[:1])+words[1:])
	}
	fields := b.fields(d)
	if len(fields) == 0 {
		return
	}
	b.out.WriteString("\n| member | value | |\n|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(&b.out, "| `%s` | %s | %s |\n", f[0], f[1], f[2])
	}
}

// fields is the members of a struct with what they are and what is said of them; those of embedded structs are its own.
func (b *book) fields(d *declared) (rows [][3]string) {
	s, is := d.spec.Type.(*ast.StructType)
	if !is {
		return nil
	}
	for _, f := range s.Fields.List {
		tag := reflect.StructTag("")
		if f.Tag != nil {
			words, _ := strconv.Unquote(f.Tag.Value)
			tag = reflect.StructTag(words)
		}
		name, options, _ := strings.Cut(tag.Get("json"), ",")
		if name == "" {
			rows = append(rows, b.fields(b.types[b.full(f.Type, d.in)])...)
			continue
		}
		if name == "-" {
			continue
		}
		words := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
		if options != "" {
			words = strings.TrimSuffix("may be left out; "+words, "; ")
		}
		switch since := tag.Get("wire"); since {
		case "":
		case string(inVersion2):
			words = "in version 2; " + words
		default:
			words = "with `" + since + "`; " + words
		}
		value := b.value(f.Type, d.in)
		if n := most[tag.Get("most")]; n > 0 {
			value += fmt.Sprintf(", at most %d", n)
		}
		rows = append(rows, [3]string{name, value, strings.ReplaceAll(words, "|", "\\|")})
	}
	return rows
}

// full is the name of a type as types has it, where it is told in the package with a prefix.
func (b *book) full(e ast.Expr, in string) string {
	switch e := e.(type) {
	case *ast.Ident:
		return in + e.Name
	case *ast.SelectorExpr:
		return fmt.Sprintf("%s.%s", e.X, e.Sel.Name)
	}
	b.t.Fatalf("a type that this page has no words for: %T", e)
	return ""
}

// plain is how values look that are no objects.
var plainValues = map[string]string{
	"string": "string", "bool": "true or false", "int": "integer", "int64": "integer", "uint64": "integer", "float64": "number",
	"core.ID": "ID: 52 characters of base32", "core.Hash": "64 hex digits", "core.TaskID": "32 hex digits",
	"core.Nonce": "32 hex digits", "core.Epoch": "16 hex digits", "core.Bitmap": "base64, the lowest bit first",
	"core.Size": "integer: bytes", "core.Rate": "integer: bytes a second", "core.Reason": "integer: a code", "Feature": "string",
	"core.Guide": "string",
}

func (b *book) value(e ast.Expr, in string) string {
	switch e := e.(type) {
	case *ast.ArrayType:
		if fmt.Sprint(e.Elt) == "byte" {
			return "base64"
		}
		return "list of " + strings.TrimPrefix(b.value(e.Elt, in), "one ")
	case *ast.MapType:
		return "object of strings"
	case *ast.Ident:
		if words := plainValues[e.Name]; words != "" {
			return words
		}
	}
	name := b.full(e, in)
	if words := plainValues[name]; words != "" {
		return words
	}
	d := b.types[name]
	if d == nil {
		b.t.Fatalf("%s is not declared where it was looked for", name)
	}
	switch of := d.spec.Type.(type) {
	case *ast.StructType:
		for _, known := range b.named {
			if known == name {
				return link(name)
			}
		}
		b.named = append(b.named, name)
		return link(name)
	case *ast.ArrayType, *ast.Ident:
		return b.value(of, d.in)
	}
	b.t.Fatalf("%s: a type that this page has no words for: %T", name, d.spec.Type)
	return ""
}

func link(name string) string {
	short := strings.TrimPrefix(name, "core.")
	return fmt.Sprintf("[%s](#%s)", short, strings.ToLower(short))
}
