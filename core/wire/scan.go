// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxGrowth is how many bytes a message may become in memory for each byte that it has, beside the FreeMemory that any
// may take. Honest ones stay far below: what costs most is a list of small things, and each of those has members with
// names. As many labels as there may be, however short, are within FreeMemory.
const (
	MaxGrowth  = 8
	FreeMemory = 16 << 10
)

// What unmarshalling takes besides a text's own bytes, and besides the items of a list themselves. Room for a message's
// own lists is made at once, as long as they are; a list within one of their items grows by a quarter at a time, and a
// map doubles, beginning with room for eight.
const (
	aText    = 32
	growing  = 5
	doubling = 3
	newTable = 320
)

var (
	errSyntax = errors.New("invalid JSON")
	errNull   = errors.New("null is not a value here")
)

// plain bounds what has to be known of a message before anything looks closer: its text, and how deep its objects and
// lists nest.
func plain(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("invalid UTF-8")
	}
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			end := stringEnd(data[i+1:])
			if end < 0 {
				return io.ErrUnexpectedEOF
			}
			i += end + 1
		case '{', '[':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("nested deeper than %d levels", MaxDepth)
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// stringEnd is the index of the quote that ends the string which s continues, or -1.
func stringEnd(s []byte) int {
	for at := 0; ; {
		quote := bytes.IndexByte(s[at:], '"')
		if quote < 0 {
			return -1
		}
		escape := bytes.IndexByte(s[at:at+quote], '\\')
		if escape < 0 {
			return at + quote
		}
		if at += escape + 2; at > len(s) {
			return -1
		}
	}
}

// scanner walks over one JSON value and makes nothing of it. It finds what is more, or other, than a form allows, while
// what there is costs no more than the bytes that it came in. Whether numbers and strings are well formed is left to
// who unmarshals it. The nesting of data is bounded: see plain.
type scanner struct {
	data    []byte
	at      int
	dialect Dialect
	weight  int    // bytes that unmarshalling takes
	skipped int    // members that belong to a feature which this side does not have
	rest    []byte // what was scanned, without those; nil where there were none
	copied  int    // how much of data rest stands for
	top     *form  // of the message itself
	lists   []room // its own
	within  int    // lists that have begun and not ended
	items   int    // of the list that ended last
}

// room is a list of a message, and how long it is.
type room struct {
	*member
	items int
}

// next is the next byte that is no space, 0 at the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// take steps over c, which must come next.
func (s *scanner) take(c byte) error {
	switch s.next() {
	case c:
		s.at++
		return nil
	case 0:
		return io.ErrUnexpectedEOF
	}
	return errSyntax
}

// quoted steps over a string and returns it with its quotes.
func (s *scanner) quoted() ([]byte, error) {
	if err := s.take('"'); err != nil {
		return nil, err
	}
	end := stringEnd(s.data[s.at:])
	if end < 0 {
		return nil, io.ErrUnexpectedEOF
	}
	s.at += end + 1
	return s.data[s.at-end-2 : s.at], nil
}

// text steps over a string and returns what it says.
func (s *scanner) text() ([]byte, error) {
	quoted, err := s.quoted()
	if err != nil || bytes.IndexByte(quoted, '\\') < 0 {
		return bytes.Trim(quoted, `"`), err
	}
	return jsontext.AppendUnquote(nil, quoted)
}

// name steps over a member's name and the colon behind it.
func (s *scanner) name() ([]byte, error) {
	name, err := s.text()
	if err != nil {
		return nil, err
	}
	return name, s.take(':')
}

// more steps over the comma between items, or the end of a list or object. first is true before its first item.
func (s *scanner) more(end byte, first bool) (bool, error) {
	switch c := s.next(); {
	case c == end:
		s.at++
		return false, nil
	case c == ',' && !first:
		s.at++
		return true, nil
	case c == 0:
		return false, io.ErrUnexpectedEOF
	case first:
		return true, nil
	}
	return false, errSyntax
}

// value steps over one value that must be of a form; nil takes any.
func (s *scanner) value(f *form) error {
	switch s.next() {
	case 0:
		return io.ErrUnexpectedEOF
	case '{':
		return s.object(f)
	case '[':
		return s.list(f)
	case '"':
		text, err := s.quoted()
		if err != nil || f == nil {
			return err
		}
		return s.weigh(len(text) + aText)
	case 'n':
		if f != nil {
			return errNull
		}
	case ',', ':', '}', ']':
		return errSyntax
	}
	for ; s.at < len(s.data); s.at++ { // a number, true or false
		switch s.data[s.at] {
		case ',', ':', '{', '}', '[', ']', '"', ' ', '\t', '\r', '\n':
			return nil
		}
	}
	return nil
}

// weigh adds what unmarshalling takes for a thing that was met.
func (s *scanner) weigh(bytes int) error {
	if s.weight += bytes; s.weight > MaxGrowth*len(s.data)+FreeMemory {
		return fmt.Errorf("more items than its %d bytes can pay for", len(s.data))
	}
	return nil
}

func (s *scanner) list(f *form) error {
	if f != nil && (f.item == nil || f.table) {
		return errors.New("a list where none is expected")
	}
	grows := growing
	if s.within == 0 {
		grows = 1
	}
	s.within++
	defer func() { s.within-- }()
	s.at++
	for n := 0; ; n++ {
		more, err := s.more(']', n == 0)
		if err != nil || !more {
			s.items = n
			return err
		}
		var item *form
		if f != nil {
			if item = f.item; n >= f.most {
				return fmt.Errorf("more than %d items", f.most)
			}
			if err := s.weigh(grows * f.size); err != nil {
				return err
			}
		}
		if err := s.value(item); err != nil {
			return err
		}
	}
}

func (s *scanner) object(f *form) error {
	if f != nil && f.members == nil && !f.table {
		return errors.New("an object where none is expected")
	}
	s.at++
	kept := 0
	for n := 0; ; n++ {
		comma := s.at
		more, err := s.more('}', n == 0)
		if err != nil || !more {
			return err
		}
		begin := s.at
		name, err := s.name()
		if err != nil {
			return err
		}
		if f == nil {
			if err := s.value(nil); err != nil {
				return err
			}
			continue
		}
		known, err := s.member(f, name, n)
		if err != nil {
			return err
		}
		if known {
			kept++
			continue
		}
		if kept > 0 {
			begin = comma
		}
		if err := s.skip(begin, kept == 0); err != nil {
			return err
		}
	}
}

// member steps over the nth member's value, unless the name is none that the dialect knows.
func (s *scanner) member(f *form, name []byte, n int) (known bool, err error) {
	value := f.item
	var m *member
	if f.members != nil {
		m = f.members[string(name)]
		switch {
		case m == nil && s.dialect.skips:
			return false, nil
		case m == nil || !s.dialect.knows(m.since):
			return false, fmt.Errorf("unknown member %.40q", name)
		}
		value = m.form
	} else {
		if n >= f.most {
			return false, fmt.Errorf("more than %d members", f.most)
		}
		entry := len(name) + doubling*f.size
		if n == 0 {
			entry += newTable
		}
		if err := s.weigh(entry); err != nil {
			return true, err
		}
	}
	if err := s.value(value); err != nil {
		return true, fmt.Errorf("%.40s: %w", name, err)
	}
	if f == s.top && value.item != nil && !value.table {
		s.lists = append(s.lists, room{m, s.items})
	}
	return true, nil
}

// skip steps over the value of an unknown member that begins at begin, and leaves the member out of the rest; so too
// the comma behind it, where there is one and no member before it.
func (s *scanner) skip(begin int, first bool) error {
	s.next()
	start := s.at
	if err := s.value(nil); err != nil {
		return err
	}
	if !jsontext.Value(s.data[start:s.at]).IsValid(jsontext.AllowDuplicateNames(true)) {
		return errSyntax
	}
	s.skipped++
	s.rest = append(s.rest, s.data[s.copied:begin]...)
	s.copied = s.at
	if first && s.next() == ',' {
		s.copied = s.at + 1
	}
	return nil
}

// makeRoom gives the lists of the message v their lengths, so that none is copied as it grows.
func (s *scanner) makeRoom(v reflect.Value) {
	for _, l := range s.lists {
		list := v.FieldByIndex(l.index)
		list.Set(reflect.MakeSlice(list.Type(), 0, l.items))
	}
}

// kept is what is to be unmarshalled.
func (s *scanner) kept() []byte {
	if s.skipped == 0 {
		return s.data
	}
	return append(s.rest, s.data[s.copied:]...)
}

// typeOf finds the member "type", which Encode writes first but which may stand anywhere.
func typeOf(data []byte) (string, error) {
	s := scanner{data: data}
	if s.next() != '{' {
		return "", errors.New("not a JSON object")
	}
	s.at++
	for n := 0; ; n++ {
		more, err := s.more('}', n == 0)
		if err != nil {
			return "", err
		}
		if !more {
			return "", errors.New("no type")
		}
		name, err := s.name()
		if err != nil {
			return "", err
		}
		if string(name) != "type" {
			if err := s.value(nil); err != nil {
				return "", err
			}
			continue
		}
		value, err := s.text()
		if errors.Is(err, errSyntax) {
			return "", errors.New("type is not a string")
		}
		return string(value), err
	}
}
