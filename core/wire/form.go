// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// form is what a value in a message may look like. It is made from the Go type, once, and is what a message is held
// against before anything is made of it.
type form struct {
	members map[string]*member // of an object with fixed names
	item    *form              // of a list, or of an object with free names
	most    int                // items of it
	table   bool               // an object with free names
	size    int                // bytes that an item takes in memory, without what it points to
	grown   bool               // something within came after version 1
}

// member is a field of a struct.
type member struct {
	*form
	index []int
	since Feature
}

// most says how many items a list may have, by the name in its tag `most`. A list without the tag is refused when its
// message is registered.
var most = map[string]int{
	"runs": maxRuns, "chunks": MaxRunChunks, "list": maxList, "labels": maxLabels, "proofs": maxProofs,
	"steps": maxSteps,
	"route": MaxRoute, "features": maxFeatures, "reasons": MaxReasons, "audited": core.MaxAuditRanges,
	"invited": MaxInvited, "revoked": MaxRevoked, "heads": MaxHeads, "proof": maxProof,
}

// formOf panics for what no message may have: it runs while the program starts.
func formOf(t reflect.Type, limit string) *form {
	text := reflect.TypeFor[encoding.TextUnmarshaler]()
	if reflect.PointerTo(t).Implements(text) || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		return &form{}
	}
	switch t.Kind() {
	case reflect.Struct:
		f := &form{members: map[string]*member{}}
		f.addFields(t, nil)
		return f
	case reflect.Slice, reflect.Map:
		f := &form{item: formOf(t.Elem(), ""), most: most[limit], size: int(t.Elem().Size())}
		if f.most == 0 {
			panic(fmt.Sprintf("wire: a %v without a bound: the tag most is %q", t, limit))
		}
		if f.table = t.Kind() == reflect.Map; f.table {
			f.size += int(t.Key().Size())
		}
		f.grown = f.item.grown
		return f
	case reflect.Pointer, reflect.Interface:
		panic(fmt.Sprintf("wire: a message with a %v", t))
	default:
		return &form{}
	}
}

func (f *form) addFields(t reflect.Type, path []int) {
	for i := range t.NumField() {
		field := t.Field(i)
		at := append(slices.Clone(path), i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			f.addFields(field.Type, at)
			continue
		case name == "-":
			continue
		case name == "" || f.members[name] != nil:
			panic(fmt.Sprintf("wire: %v.%s has no name of its own", t, field.Name))
		}
		since := Feature(field.Tag.Get("wire"))
		if since != "" && since != inVersion2 && !slices.Contains(Features, since) {
			panic(fmt.Sprintf("wire: %v.%s came with %q, which is not in Features", t, field.Name, since))
		}
		m := &member{form: formOf(field.Type, field.Tag.Get("most")), index: at, since: since}
		f.members[name] = m
		f.grown = f.grown || since != "" || m.grown
	}
}

// trim takes out of v what d does not know. Lists that it changes are copies: the message is its sender's.
func (f *form) trim(v reflect.Value, d Dialect) {
	if !f.grown {
		return
	}
	if f.members == nil && v.Kind() == reflect.Slice {
		v.Set(reflect.AppendSlice(reflect.Zero(v.Type()), v))
		for i := range v.Len() {
			f.item.trim(v.Index(i), d)
		}
		return
	}
	for _, m := range f.members {
		field := v.FieldByIndex(m.index)
		if !d.knows(m.since) {
			field.SetZero()
			continue
		}
		m.trim(field, d)
	}
}
