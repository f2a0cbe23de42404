// SPDX-License-Identifier: Apache-2.0

package key

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/bkp-tool/bkp/core"
)

// ErrPassphrase is returned by ParseOwner when the identity file needs a passphrase, or another one.
var ErrPassphrase = errors.New("the identity is under a passphrase")

const (
	// scryptWork is log2 of scrypt's N: 128 MiB and about half a second. (age's own default would take 256 MiB.)
	scryptWork = 17
	// maxScryptWork bounds what a file may ask of us: 1 GiB.
	maxScryptWork = 20
	// maxIdentity bounds an identity file; most of it is the peer list.
	maxIdentity = 1 * core.MiB
)

// identityFile is the identity file's JSON; byte arrays are base64.
type identityFile struct {
	V           int      `json:"v"` // 1
	OwnerSeed   [32]byte `json:"owner_seed"`
	AgeIdentity string   `json:"age_identity"`
	DedupSecret [32]byte `json:"dedup_secret"`
	Peers       []string `json:"peers"`
}

// Marshal is the identity file: JSON, or with a passphrase an armored age file around it.
func (o *Owner) Marshal(passphrase string) ([]byte, error) { return o.marshal(passphrase, scryptWork) }

func (o *Owner) marshal(passphrase string, work int) ([]byte, error) {
	plain, err := o.plain()
	if err != nil {
		return nil, fmt.Errorf("write identity: %w", err)
	}
	plain = append(plain, '\n')
	if passphrase == "" {
		return plain, nil
	}
	sealed, err := lock(plain, passphrase, work)
	if err != nil {
		return nil, fmt.Errorf("write identity under a passphrase: %w", err)
	}
	return sealed, nil
}

// plain is the identity's JSON.
func (o *Owner) plain() ([]byte, error) {
	if o.writer != nil {
		return o.writer.marshal(o)
	}
	if o.reader != nil {
		return o.reader.marshal(o)
	}
	return json.Marshal(identityFile{
		V: 1, OwnerSeed: o.signer.Seed(), AgeIdentity: o.age.String(), DedupSecret: o.DedupSecret, Peers: o.Peers,
	}, jsontext.WithIndent("  "))
}

// ParseOwner reads an identity file. The passphrase is used only where the file is under one.
func ParseOwner(data []byte, passphrase string) (*Owner, error) {
	if core.Size(len(data)) > maxIdentity {
		return nil, fmt.Errorf("read identity: %d bytes, at most %d are allowed", len(data), maxIdentity)
	}
	data, err := asUTF8(data)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(armor.Header)) {
		plain, err := unlock(data, passphrase)
		if err != nil {
			return nil, fmt.Errorf("read identity: %w", err)
		}
		data = plain
	}
	parse := parseOwner
	switch {
	case isWriter(data):
		parse = parseWriter
	case isReader(data):
		parse = parseReader
	}
	o, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	return o, nil
}

func parseOwner(data []byte) (*Owner, error) {
	var f identityFile
	if err := json.Unmarshal(data, &f, strict); err != nil {
		return nil, core.WithHint(withoutSecrets(err),
			"an identity begins with { or with %s; where something "+
				"changed it on the way, take it from there again: bkp key export -o FILE", armor.Header)
	}
	if f.V != 1 {
		return nil, fmt.Errorf("version %d is not known here", f.V)
	}
	if f.OwnerSeed == [32]byte{} || f.DedupSecret == [32]byte{} {
		return nil, errors.New("owner_seed or dedup_secret is missing")
	}
	id, err := age.ParseX25519Identity(f.AgeIdentity)
	if err != nil {
		return nil, errors.New("age_identity is not an AGE-SECRET-KEY-1")
	}
	return &Owner{Peers: f.Peers, DedupSecret: f.DedupSecret, signer: SignerFromSeed(f.OwnerSeed), age: id}, nil
}

// asUTF8 undoes what a redirect on Windows does to a file: a byte order mark in front, or UTF-16 for UTF-8. Its line
// ends do no harm. What is read as UTF-16 is ASCII then, or not an identity.
func asUTF8(data []byte) ([]byte, error) {
	var order binary.ByteOrder
	switch mark := data[:min(len(data), 2)]; {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return data[3:], nil
	case len(mark) < 2:
		return data, nil
	case mark[0] == 0xff && mark[1] == 0xfe:
		order, data = binary.LittleEndian, data[2:]
	case mark[0] == 0xfe && mark[1] == 0xff:
		order, data = binary.BigEndian, data[2:]
	case mark[1] == 0:
		order = binary.LittleEndian
	case mark[0] == 0:
		order = binary.BigEndian
	default:
		return data, nil
	}
	text := make([]byte, 0, len(data)/2)
	for pair := range slices.Chunk(data, 2) {
		if len(pair) < 2 || order.Uint16(pair) >= utf8.RuneSelf {
			return nil, core.WithHint(errors.New("not an identity file: it is UTF-16, and not all of it is there, or it is something else"),
				"bkp key export -o FILE writes one that no shell changes")
		}
		text = append(text, byte(order.Uint16(pair)))
	}
	return text, nil
}

// withoutSecrets says where the JSON is wrong and of what kind, but quotes nothing of the file.
func withoutSecrets(err error) error {
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("not an identity file: wrong value or name at %q", e.JSONPointer)
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Errorf("not an identity file: %q stands there twice", e.JSONPointer)
		}
		return fmt.Errorf("not an identity file: malformed JSON at byte %d", e.ByteOffset)
	}
	return errors.New("not an identity file")
}

func lock(plain []byte, passphrase string, work int) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(work)
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	body, err := age.Encrypt(text, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := body.Write(plain); err != nil {
		return nil, err
	}
	err = errors.Join(body.Close(), text.Close()) // in this order: the text ends last
	return out.Bytes(), err
}

func unlock(data []byte, passphrase string) ([]byte, error) {
	if passphrase == "" {
		return nil, ErrPassphrase
	}
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	id.SetMaxWorkFactor(maxScryptWork)
	body, err := age.Decrypt(armor.NewReader(bytes.NewReader(data)), id)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return nil, fmt.Errorf("%w, and this is not it", ErrPassphrase)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(body)
}
