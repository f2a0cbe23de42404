// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	jsonv2 "github.com/go-json-experiment/json"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the files that the tests compare with")

// TestOpenAPI makes openapi.json from the types and their comments, and compares it with the file that the node gives.
func TestOpenAPI(t *testing.T) {
	made := append(describe(t), '\n')
	if *update {
		if err := os.WriteFile("openapi.json", made, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(made, openAPI) {
		t.Error("openapi.json is not what the types say any more: go generate ./core/control")
	}
}

// object is a JSON object.
type object = map[string]any

func describe(t *testing.T) []byte {
	d := &describer{comments: commentsOf(t, "control", ".", "core", "..", "plan", "../plan"), schemas: object{},
		types: map[string]reflect.Type{}}
	paths := object{
		"/openapi.json": object{"get": object{"summary": "this description", "responses": object{
			"200": object{"description": "OpenAPI 3.1", "content": object{"application/json": object{}}}}}},
		"/v1/streams/{stream}": streams,
	}
	for name, c := range commands {
		paths["/v1/"+name] = object{"post": d.operation(name, c)}
	}
	d.schemas["ExitError"] = d.withType(reflect.TypeFor[exitError](), lineError)
	d.schemas["StatusLine"] = d.withType(reflect.TypeFor[Status](), lineStatus)
	raw, err := json.MarshalIndent(object{
		"openapi": "3.1.1",
		"info": object{
			"title":   "bkp: the node of a data directory",
			"version": "1",
			"description": "HTTP over the unix socket DATA/node.sock, which is its owner's alone. " +
				"Requests name the host bkp; those with an Origin header are refused. Hanging up cancels a command.",
		},
		"servers":    []any{object{"url": "http://" + host}},
		"paths":      paths,
		"components": object{"schemas": d.schemas},
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var streamName = object{"name": "stream", "schema": object{"type": "string"},
	"description": "a name that the caller makes up, hard to guess: the command and its bytes come with " +
		"the same one, in any order"}

var streams = object{
	"parameters": []any{with(streamName, "in", "path", "required", true)},
	"get": object{"summary": "the bytes that a command gives out; broken off where it fails", "responses": object{
		"200":     object{"description": "the bytes", "content": object{"application/octet-stream": object{}}},
		"default": refusal}},
	"post": object{"summary": "the bytes that a command takes in", "requestBody": object{
		"content": object{"application/octet-stream": object{}}}, "responses": object{
		"204": object{"description": "passed on, as far as the command wanted them"}, "default": refusal}},
}

var refusal = object{"description": "nothing was carried out",
	"content": object{contentType: object{"schema": ref("ExitError")}}}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

func with(o object, more ...any) object {
	o = maps.Clone(o)
	for i := 0; i < len(more); i += 2 {
		o[more[i].(string)] = more[i+1]
	}
	return o
}

// describer makes schemas of Go types as their JSON is.
type describer struct {
	comments map[string]string // of "control.PlaceArgs", "control.PlaceArgs.Name", "place"
	schemas  object
	types    map[string]reflect.Type
}

// signature is what a command takes and answers.
func signature(c command) (args, result reflect.Type) {
	do := reflect.TypeOf(c)
	return do.In(2), do.Out(0)
}

func (d *describer) operation(name string, c command) object {
	args, result := signature(c)
	op := object{
		"operationId": name,
		"summary":     d.comments[name],
		"requestBody": object{"content": object{"application/json": object{"schema": d.schema(args)}}},
		"responses": object{
			"200": object{
				"description": "begun; each line is one object, and the last says how it ended",
				"content": object{contentType: object{"schema": object{"oneOf": []any{ref("StatusLine"),
					d.withType(result, lineSummary), ref("ExitError")}}}},
			},
			"default": refusal,
		},
	}
	d.schemas[args.Name()].(object)["additionalProperties"] = false
	delete(d.schemas[args.Name()].(object), "required")
	for _, s := range []stream{{in: strings.NewReader("")}, {out: os.Stdout}} {
		if s.attach(reflect.New(args).Interface()) == nil {
			op["parameters"] = []any{with(streamName, "in", "query")}
		}
	}
	return op
}

// withType is a type as a line of an answer has it.
func (d *describer) withType(t reflect.Type, kind string) object {
	return object{"allOf": []any{d.schema(t), object{"required": []any{"message_type"},
		"properties": object{"message_type": object{"const": kind}}}}}
}

func (d *describer) schema(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return object{"type": "string"}
	case t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[jsonv2.MarshalerTo]()):
		panic(fmt.Sprint(t, " writes JSON of its own: describe it here"))
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Struct:
		if other, there := d.types[t.Name()]; there && other != t {
			panic(fmt.Sprint(t, " and ", other, " have one name"))
		}
		if _, there := d.types[t.Name()]; !there {
			d.types[t.Name()] = t
			d.schemas[t.Name()] = d.structure(t)
		}
		return ref(t.Name())
	}
	panic(fmt.Sprint("no schema for ", t))
}

func (d *describer) structure(t reflect.Type) object {
	properties, required := object{}, []any{}
	d.members(t, properties, &required)
	o := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	return d.commented(o, t.String())
}

func (d *describer) members(t reflect.Type, properties object, required *[]any) {
	for f := range fields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "":
			d.members(f.Type, properties, required)
		default:
			if name == "" {
				name = f.Name
			}
			properties[name] = d.commented(d.schema(f.Type), t.String()+"."+f.Name)
			if !strings.Contains(options, "omit") {
				*required = append(*required, name)
			}
		}
	}
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

func (d *describer) commented(o object, of string) object {
	if text := d.comments[of]; text != "" {
		return with(o, "description", text)
	}
	return o
}

// commentsOf reads the comments of types, members and string constants of packages, given as name and directory.
func commentsOf(t *testing.T, packages ...string) map[string]string {
	found := map[string]string{}
	for i := 0; i < len(packages); i += 2 {
		paths, err := filepath.Glob(packages[i+1] + "/*.go")
		if err != nil || len(paths) == 0 {
			t.Fatal("no files in", packages[i+1], err)
		}
		for _, path := range paths {
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range f.Decls {
				if g, ok := decl.(*ast.GenDecl); ok {
					for _, s := range g.Specs {
						note(found, packages[i], g, s)
					}
				}
			}
		}
	}
	return found
}

func note(found map[string]string, pkg string, g *ast.GenDecl, spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		if lit, ok := slices.Concat(s.Values, []ast.Expr{nil})[0].(*ast.BasicLit); ok && pkg == "control" {
			value, _ := strconv.Unquote(lit.Value)
			if strings.HasPrefix(s.Names[0].Name, "Command") {
				found[value] = text(s.Comment)
			}
		}
	case *ast.TypeSpec:
		name := pkg + "." + s.Name.Name
		found[name] = text(g.Doc)
		if st, ok := s.Type.(*ast.StructType); ok {
			for _, f := range st.Fields.List {
				for _, id := range f.Names {
					found[name+"."+id.Name] = strings.TrimSpace(text(f.Doc) + " " + text(f.Comment))
				}
			}
		}
	}
}

func text(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

// TestEveryLineFitsTheDescription holds what is written against openapi.json by a reader of schemas that knows no Go
// type.
func TestEveryLineFitsTheDescription(t *testing.T) {
	var file object
	if err := json.Unmarshal(openAPI, &file); err != nil {
		t.Fatal(err)
	}
	schemas := at(file, "components", "schemas")
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(commands))).Draw(t, "command")
		args, result := signature(commands[name])
		post := at(file, "paths", "/v1/"+name, "post")
		raw, err := jsonv2.Marshal(drawn(t, args))
		if err != nil {
			t.Fatal(err)
		}
		fits(t, schemas, at(post, "requestBody", "content", "application/json", "schema"), raw)
		if _, err := commands[name].read(raw); err != nil {
			t.Fatalf("%s %s: %v", name, raw, err)
		}
		answer := at(post, "responses", "200", "content", contentType, "schema")["oneOf"].([]any)
		for i, value := range []struct {
			kind string
			of   any
		}{
			{lineStatus, drawn(t, reflect.TypeFor[Status]())},
			{lineSummary, drawn(t, result)},
			{lineError, drawn(t, reflect.TypeFor[exitError]())},
		} {
			raw, err := line(value.kind, value.of)
			if err != nil {
				t.Fatal(err)
			}
			fits(t, schemas, answer[i].(object), raw)
		}
	})
}

func at(o object, path ...string) object {
	for _, p := range path {
		o = o[p].(object)
	}
	return o
}

func fits(t *rapid.T, schemas, schema object, raw []byte) {
	var value any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		t.Fatal(err)
	}
	if wrong := misfit(schemas, schema, value, nil); wrong != "" {
		t.Fatalf("%s: %s", raw, wrong)
	}
}

// misfit is what is wrong with value; known is the members that a schema beside this one describes.
func misfit(schemas, schema object, value any, known object) string {
	if name, is := schema["$ref"].(string); is {
		return misfit(schemas, schemas[filepath.Base(name)].(object), value, known)
	}
	if all, is := schema["allOf"].([]any); is {
		known := at(all[1].(object), "properties")
		return misfit(schemas, all[0].(object), value, known) + misfit(schemas, all[1].(object), value, nil)
	}
	if want, is := schema["const"]; is && value != want {
		return fmt.Sprintf("%v is not %v", value, want)
	}
	switch v := value.(type) {
	case object:
		properties, described := schema["properties"].(object)
		for _, name := range list(schema["required"]) {
			if _, there := v[name.(string)]; !there {
				return fmt.Sprintf("%v is missing", name)
			}
		}
		for name, member := range v {
			_, beside := known[name]
			s, there := properties[name].(object)
			if more, is := schema["additionalProperties"].(object); is {
				s, there = more, true
			}
			if !there && !beside && described && schema["type"] != nil {
				return name + " is not described"
			}
			if there {
				if wrong := misfit(schemas, s, member, nil); wrong != "" {
					return name + ": " + wrong
				}
			}
		}
		if schema["type"] != nil && schema["type"] != "object" {
			return fmt.Sprintf("an object, not of type %v", schema["type"])
		}
	case []any:
		if schema["type"] != "array" {
			return fmt.Sprintf("a list, not of type %v", schema["type"])
		}
		for _, x := range v {
			if wrong := misfit(schemas, schema["items"].(object), x, nil); wrong != "" {
				return wrong
			}
		}
	case json.Number:
		_, whole := new(big.Int).SetString(v.String(), 10)
		if schema["type"] != "number" && (schema["type"] != "integer" || !whole) {
			return fmt.Sprintf("%s is not of type %v", v, schema["type"])
		}
	case string:
		if schema["const"] == nil && schema["type"] != "string" {
			return fmt.Sprintf("%q is not of type %v", v, schema["type"])
		}
	case bool:
		if schema["type"] != "boolean" {
			return fmt.Sprintf("%v is not of type %v", v, schema["type"])
		}
	default:
		return fmt.Sprintf("%v is of no type that has a place here", v)
	}
	return ""
}

func list(of any) []any {
	l, _ := of.([]any)
	return l
}

// drawn is a value of a type with anything in it that JSON can hold.
func drawn(t *rapid.T, of reflect.Type) any {
	v := reflect.New(of).Elem()
	fill(t, v, 0)
	return v.Interface()
}

func fill(t *rapid.T, v reflect.Value, depth int) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "time"), 0).UTC()))
		return
	case v.Type() == reflect.TypeFor[core.Erasure]():
		v.Set(reflect.ValueOf(rapid.SampledFrom([]core.Erasure{{}, {K: 1, M: 1}, {K: 4, M: 2}}).Draw(t, "erasure")))
		return
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(rapid.Byte().Draw(t, "byte")))
			if i == 3 {
				return
			}
		}
		return
	}
	few := func() int { return rapid.IntRange(0, max(0, 2-depth/2)).Draw(t, "many") }
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64Range(-1<<53, 1<<53).Draw(t, "int"))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint"))
	case reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(t, "float"))
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "string"))
	case reflect.Pointer:
		if few() > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), depth+1)
		}
	case reflect.Slice:
		for range few() {
			x := reflect.New(v.Type().Elem()).Elem()
			fill(t, x, depth+1)
			v.Set(reflect.Append(v, x))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range few() {
			x := reflect.New(v.Type().Elem()).Elem()
			fill(t, x, depth+1)
			v.SetMapIndex(reflect.ValueOf(rapid.String().Draw(t, "key")), x)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" {
				fill(t, v.Field(i), depth+1)
			}
		}
	default:
		t.Fatalf("cannot draw a %s", v.Type())
	}
}

// TestALineIsWhatTheCommandPrints compares with encoding/json, by which the command line prints a result once it has
// come from the node.
func TestALineIsWhatTheCommandPrints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(commands))).Draw(t, "command")
		_, result := signature(commands[name])
		got, err := line(lineSummary, drawn(t, result))
		if err != nil {
			t.Fatal(err)
		}
		read := reflect.New(result)
		if err := readAnswer(bytes.NewReader(got), read.Interface(), nil); err != nil {
			t.Fatal(err)
		}
		var printed bytes.Buffer
		e := json.NewEncoder(&printed)
		e.SetEscapeHTML(false)
		if err := e.Encode(read.Interface()); err != nil {
			t.Fatal(err)
		}
		want := `{"message_type":"summary",` + printed.String()[1:]
		if printed.String() == "{}\n" {
			want = `{"message_type":"summary"}` + "\n"
		}
		if string(got) != want {
			t.Fatalf("\n%s\nthe command prints\n%s", got, want)
		}
	})
}
