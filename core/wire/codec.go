// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/go-json-experiment/json"
)

// MaxMessage is the largest control message in bytes, and MaxDepth how deep its objects and arrays may nest. Before
// AUTH nobody has shown who it is: MaxHello and MaxAuth bound what is read of a stranger.
const (
	MaxMessage = 4 << 20
	MaxHello   = 16 << 10
	MaxAuth    = 64 << 10
	MaxDepth   = 16
)

// ErrUnknownType is in the chain of the error for a message whose type nobody here knows.
var ErrUnknownType = errors.New("unknown message type")

// envelope is a message as it travels: its fields beside its type.
type envelope[M bounded] struct {
	Type string `json:"type"`
	Body M      `json:",embed"`
}

// codec reads and writes one type of message.
type codec struct {
	form   *form
	since  Feature // that brought it; "" is version 1
	bytes  int     // the most that one may have
	trim   func(Message, Dialect) (bounded, error)
	encode func(bounded) ([]byte, error)
	decode func(*scanner) (Message, error)
	clean  func(Message) Message // escapes what does not print
}

var codecs = map[string]*codec{}

// bounded is what every message that travels is: Validate says what can be told to be wrong from it alone.
type bounded interface {
	Message
	Validate() error
}

// register makes M a message. What is said about it beside its type: atMost, since.
func register[M bounded](more ...func(*codec)) {
	var zero M
	c := &codec{
		form: formOf(reflect.TypeFor[M](), ""), bytes: MaxMessage,
		encode: func(m bounded) ([]byte, error) { return json.Marshal(envelope[M]{zero.Type(), m.(M)}) },
		decode: func(s *scanner) (Message, error) {
			var e envelope[M]
			s.makeRoom(reflect.ValueOf(&e.Body).Elem())
			if err := json.Unmarshal(s.kept(), &e, json.RejectUnknownMembers(true)); err != nil {
				return nil, err
			}
			return e.Body, e.Body.Validate()
		},
	}
	c.trim = func(m Message, d Dialect) (bounded, error) {
		body, ok := any(m).(M)
		if p, pointer := any(m).(*M); pointer {
			body, ok = *p, true
		}
		if !ok {
			return nil, fmt.Errorf("%T is not %T", m, zero)
		}
		if c.form.grown {
			c.form.trim(reflect.ValueOf(&body).Elem(), d)
		}
		return body, nil
	}
	c.clean = func(m Message) Message {
		body := m.(M)
		printable(reflect.ValueOf(&body).Elem())
		return body
	}
	c.form.members["type"] = &member{form: &form{}}
	for _, say := range more {
		say(c)
	}
	codecs[zero.Type()] = c
}

func atMost(bytes int) func(*codec) { return func(c *codec) { c.bytes = bytes } }

// since says which feature brought a type of message: it is sent to nobody who does not list it.
func since(f Feature) func(*codec) { return func(c *codec) { c.since = f } }

// Encode writes m, a message by value or by pointer, with all that this build knows.
func Encode(m Message) ([]byte, error) { return newest.Encode(m) }

// Decode reads one message between peers with all that this build knows; Dialect.Decode says how.
func Decode(data []byte) (Message, error) {
	m, _, err := newest.Decode(data)
	return m, err
}

// Encode writes m, a message by value or by pointer, without the members that the other side does not know. It refuses
// what Decode would refuse, so that a mistake is found by who makes it, and a type of message that the other side does
// not know.
func (d Dialect) Encode(m Message) ([]byte, error) {
	data, err := d.encode(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Type(), err)
	}
	return data, nil
}

func (d Dialect) encode(m Message) ([]byte, error) {
	c := codecs[m.Type()]
	switch {
	case c == nil:
		return nil, ErrUnknownType
	case !d.knows(c.since):
		return nil, fmt.Errorf("the other side does not list the feature %s", c.since)
	}
	body, err := c.trim(m, d)
	if err == nil {
		err = body.Validate()
	}
	if err != nil {
		return nil, err
	}
	data, err := c.encode(body)
	if err != nil {
		return nil, err
	}
	if _, err := c.scan(data, d); err != nil {
		return nil, err
	}
	return data, nil
}

// Trim is m, a message by value or by pointer, as the other side will have it: by value, without the members that it
// does not know.
func (d Dialect) Trim(m Message) Message {
	if c := codecs[m.Type()]; c != nil {
		if body, err := c.trim(m, d); err == nil {
			return body
		}
	}
	return m
}

// Decode reads one message between peers, strictly: a single JSON object of at most MaxMessage bytes and MaxDepth
// levels, in valid UTF-8, with a known type, no unknown, repeated or null member, no list longer than its bound, and
// every value within the bounds of its Validate. Reading it takes at most MaxGrowth bytes for each of data. The message
// is returned by value.
//
// Unknown types and members are skipped where the other side lists a feature that this one lacks: skipped says how
// many. The message is nil where it was one of them.
func (d Dialect) Decode(data []byte) (m Message, skipped int, err error) { return d.decode(data, "") }

// decode reads a message of the type want, of any where it is "".
func (d Dialect) decode(data []byte, want string) (m Message, skipped int, err error) {
	if len(data) > MaxMessage {
		return nil, 0, fmt.Errorf("decode: message of %d bytes, %d are allowed", len(data), MaxMessage)
	}
	if err := plain(data); err != nil {
		return nil, 0, fmt.Errorf("decode: %w", err)
	}
	name, err := typeOf(data)
	if err != nil {
		return nil, 0, fmt.Errorf("decode: %w", err)
	}
	c, known := codecs[name]
	switch {
	case !known && d.skips && want == "":
		return nil, 1, nil
	case !known || !d.knows(c.since):
		return nil, 0, fmt.Errorf("decode: %w %.40q", ErrUnknownType, name)
	case want != "" && name != want:
		return nil, 0, fmt.Errorf("%s before %s", name, want)
	}
	s, err := c.scan(data, d)
	if err == nil {
		m, err = c.decode(s)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("decode %s: %w", name, err)
	}
	if !ascii(data) {
		m = c.clean(m)
	}
	return m, s.skipped, nil
}

// scan holds a message that is plain against its form.
func (c *codec) scan(data []byte, d Dialect) (*scanner, error) {
	if len(data) > c.bytes {
		return nil, fmt.Errorf("message of %d bytes, %d are allowed", len(data), c.bytes)
	}
	s := &scanner{data: data, dialect: d, top: c.form}
	return s, s.value(c.form)
}
