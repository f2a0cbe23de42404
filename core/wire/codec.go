package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxMessage is the largest control message in bytes, and MaxDepth how deep its objects and arrays may nest.
const (
	MaxMessage = 4 << 20
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
	encode func(Message) ([]byte, error)
	decode func([]byte) (Message, error)
	local  bool // for the node's own socket: not a word between peers
}

var codecs = map[string]codec{}

// bounded is what every message that travels is: Validate says what can be told to be wrong from it alone.
type bounded interface {
	Message
	Validate() error
}

func register[M bounded](local bool) {
	var zero M
	codecs[zero.Type()] = codec{
		local: local,
		encode: func(m Message) ([]byte, error) {
			body, ok := any(m).(M)
			if p, pointer := any(m).(*M); pointer {
				body, ok = *p, true
			}
			if !ok {
				return nil, fmt.Errorf("%T is not %T", m, zero)
			}
			if err := body.Validate(); err != nil {
				return nil, err
			}
			return json.Marshal(envelope[M]{zero.Type(), body})
		},
		decode: func(data []byte) (Message, error) {
			var e envelope[M]
			if err := json.Unmarshal(data, &e, json.RejectUnknownMembers(true)); err != nil {
				return nil, err
			}
			return e.Body, e.Body.Validate()
		},
	}
}

func init() {
	register[Hello](false)
	register[Auth](false)
	register[Delegation](false)
	register[BandwidthCoordination](false)
	register[StateQuery](false)
	register[StateReport](false)
	register[StorageTask](false)
	register[TaskAgree](false)
	register[TaskRefuse](false)
	register[Want](false)
	register[StorageApply](false)
	register[StorageAgree](false)
	register[StorageRefuse](false)
	register[TransmissionBegin](false)
	register[TransmissionComplete](false)
	register[TransmissionAbort](false)
	register[ProbeApply](false)
	register[LeaseRevise](false)
	register[GainApply](false)
	register[GainAgree](false)
	register[GainRefuse](false)
	register[RefPut](false)
	register[RefOK](false)
	register[RefList](false)
	register[RefGet](false)
	register[RefReport](false)
	register[Release](false)
	register[ReleaseDone](false)
	register[Relay](false)
	register[LocalCall](true)
	register[LocalStatus](true)
	register[LocalResult](true)
}

// Encode writes m, a message by value or by pointer. It refuses what Decode would refuse, so that a mistake is found by who
// makes it.
func Encode(m Message) ([]byte, error) {
	c, ok := codecs[m.Type()]
	if !ok {
		return nil, fmt.Errorf("encode: %w %q", ErrUnknownType, m.Type())
	}
	data, err := c.encode(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Type(), err)
	}
	if len(data) > MaxMessage {
		return nil, fmt.Errorf("encode %s: %d bytes, %d are allowed", m.Type(), len(data), MaxMessage)
	}
	return data, nil
}

// Decode reads one message between peers, strictly: a single JSON object of at most MaxMessage bytes and MaxDepth levels, in
// valid UTF-8, with a known type, no unknown, repeated or null member, and every value within the bounds of its Validate. The
// message is returned by value.
func Decode(data []byte) (Message, error) { return decode(data, false) }

// DecodeLocal reads one message of the node's own socket, as strictly as Decode; what a command reports may hold null.
func DecodeLocal(data []byte) (Message, error) { return decode(data, true) }

func decode(data []byte, local bool) (Message, error) {
	if len(data) > MaxMessage {
		return nil, fmt.Errorf("decode: message of %d bytes, %d are allowed", len(data), MaxMessage)
	}
	null, err := scan(data)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	name, err := typeOf(data)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	c, ok := codecs[name]
	if !ok || c.local != local {
		return nil, fmt.Errorf("decode: %w %.40q", ErrUnknownType, name)
	}
	if null && !local {
		return nil, fmt.Errorf("decode %s: null is not a value here", name)
	}
	m, err := c.decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", name, err)
	}
	return m, nil
}

// scan bounds the nesting before anything recurses into it, and reports whether a null stands outside the strings.
func scan(data []byte) (null bool, err error) {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			end := stringEnd(data[i+1:])
			if end < 0 {
				return null, io.ErrUnexpectedEOF
			}
			i += end + 1
		case '{', '[':
			if depth++; depth > MaxDepth {
				return null, fmt.Errorf("nested deeper than %d levels", MaxDepth)
			}
		case '}', ']':
			depth--
		case 'n':
			null = true
		}
	}
	return null, nil
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

// typeOf finds the member "type", which Encode writes first but which may stand anywhere.
func typeOf(data []byte) (string, error) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if open, err := d.ReadToken(); err != nil || open.Kind() != '{' {
		return "", errors.Join(errors.New("not a JSON object"), err)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return "", err
		}
		if name.String() != "type" {
			if err := d.SkipValue(); err != nil {
				return "", err
			}
			continue
		}
		value, err := d.ReadToken()
		if err != nil {
			return "", err
		}
		if value.Kind() != '"' {
			return "", errors.New("type is not a string")
		}
		return value.String(), nil
	}
	if _, err := d.ReadToken(); err != nil {
		return "", err
	}
	return "", errors.New("no type")
}
