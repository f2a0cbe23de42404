// SPDX-License-Identifier: Apache-2.0

package key

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"filippo.io/age"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// Payload types of a ref, by its version.
const (
	RefType1 = "application/vnd.bkp.ref.v1+cbor"
	RefType2 = "application/vnd.bkp.ref.v2+cbor"
)

// Ref is the sealed pointer to one version of a name, as peers keep it. In a Ref of version 1 Content is zero, and
// Created, which moved whenever the version was placed again, is also Placed.
type Ref struct {
	V       int       `cbor:"v"` // 1 or 2
	Owner   core.ID   `cbor:"owner"`
	Alias   string    `cbor:"alias"`
	Version int       `cbor:"version"` // from 1
	Content core.Hash `cbor:"content"` // stored hash of the manifest's root
	// Content of the previous version (in V 1 its RefHash), zero where there is none
	Prev       core.Hash `cbor:"prev"`
	Created    int64     `cbor:"created"` // Unix seconds: when the content was split; the same for ever
	Placed     int64     `cbor:"placed"`  // Unix seconds: when this envelope was signed; delegations are judged by it
	Body       []byte    `cbor:"body"`    // age file over a RefBody, readable by the owner only
	Key        []byte    `cbor:"key"`     // the signer's public key
	Delegation []byte    `cbor:"delegation,omitempty"`
}

// ref1 is the payload of version 1.
type ref1 struct {
	V          int       `cbor:"v"` // 1
	Owner      core.ID   `cbor:"owner"`
	Alias      string    `cbor:"alias"`
	Version    int       `cbor:"version"`
	Prev       core.Hash `cbor:"prev"`
	Created    int64     `cbor:"created"` // when it was signed
	Body       []byte    `cbor:"body"`
	Key        []byte    `cbor:"key"`
	Delegation []byte    `cbor:"delegation,omitempty"`
}

// RefBody is what a ref tells its owner.
type RefBody struct {
	Name    string
	Root    core.Sealed // of the manifest
	Size    core.Size   // of the plain file
	Task    core.TaskID // zero before placement
	Records []core.Sealed
	Mode    uint32 // of a regular file, as stat has it: 0100000 and its permissions; 0 where nothing is known of it
	RootKey []byte // Root.Key as an age file for the owner, where the machine that wrote the body may have forgotten it
}

const (
	modeRegular = 0o100000 // S_IFREG
	permissions = 0o777
)

// SealRef encrypts body and signs the ref as its owner, filling Owner, Alias, Content, Body and what SignRef fills.
func (o *Owner) SealRef(r Ref, body RefBody) ([]byte, error) {
	if o.writer == nil {
		if err := o.signs(); err != nil {
			return nil, err
		}
	}
	r.Owner, r.Alias, r.Content, r.Delegation = o.ID(), o.Alias(body.Name), body.Root.Hash, o.Delegation()
	var err error
	if r.V == 1 {
		body.Mode = 0 // whoever reads version 1 only would not read on
	}
	if o.writer != nil {
		if body.RootKey, err = o.rootKey(body); err != nil {
			return nil, fmt.Errorf("seal ref of %q: %w", body.Name, err)
		}
	}
	if r.Body, err = o.sealBody(body); err != nil {
		return nil, fmt.Errorf("seal ref of %q: %w", body.Name, err)
	}
	if err := o.note(r, body); err != nil {
		return nil, fmt.Errorf("note what is in the ref of %q: %w", body.Name, err)
	}
	return o.Signer().SignRef(r)
}

// SignRef signs r as the owner that it names, or as a delegate whose delegation it carries. It fills Key, V where that
// is 0 and Placed where that is 0: a version is first signed when it was split.
func (s *Signer) SignRef(r Ref) ([]byte, error) {
	r.Key = s.Public()
	r.V, r.Placed = cmp.Or(r.V, 2), cmp.Or(r.Placed, r.Created)
	payload, err := r.payload()
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return nil, fmt.Errorf("sign ref %s.%d: %w", r.Alias, r.Version, err)
	}
	return s.Envelope(refType(r.V), payload)
}

func refType(v int) string {
	if v == 1 {
		return RefType1
	}
	return RefType2
}

func (r Ref) payload() ([]byte, error) {
	if r.V == 1 {
		return cborEncode(ref1{V: 1, Owner: r.Owner, Alias: r.Alias, Version: r.Version, Prev: r.Prev,
			Created: r.Placed,
			Body:    r.Body, Key: r.Key, Delegation: r.Delegation})
	}
	return cborEncode(r)
}

func (r *Ref) readPayload(payload []byte, payloadType string) error {
	if payloadType != RefType1 {
		return cborDecode(payload, r)
	}
	var old ref1
	err := cborDecode(payload, &old)
	*r = Ref{V: old.V, Owner: old.Owner, Alias: old.Alias, Version: old.Version, Prev: old.Prev, Created: old.Created,
		Placed: old.Created, Body: old.Body, Key: old.Key, Delegation: old.Delegation}
	return err
}

// OpenRef returns a ref of either version that its owner or a delegate with the right to write really signed: a
// delegation must have stood when the ref was signed. Who takes it in now asks Allowed too. Body is still sealed.
func OpenRef(envelope []byte) (r Ref, err error) {
	payloadType := RefType2
	if isType(envelope, RefType1) {
		payloadType = RefType1
	}
	_, err = OpenEnvelope(envelope, payloadType, func(payload []byte) ([]byte, error) {
		err := r.readPayload(payload, payloadType)
		return r.Key, err
	})
	if err == nil {
		err = sameSpelling(envelope)
	}
	if err == nil && refType(r.V) != payloadType {
		err = fmt.Errorf("version %d in an envelope of type %s", r.V, payloadType)
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return Ref{}, fmt.Errorf("ref: %w", err)
	}
	return r, nil
}

// Allowed returns nil where the signer may still write refs at now: a delegate could have signed with an older date.
func (r Ref) Allowed(now time.Time) error {
	return acting(r.Owner, r.Key, r.Delegation, RightWrite, now.Unix())
}

// RefHash is what the Prev of the next version says of this envelope where that is of version 1.
func RefHash(envelope []byte) core.Hash { return blake3.Sum256(envelope) }

func (r Ref) check() error {
	switch {
	case r.V != 1 && r.V != 2:
		return fmt.Errorf("version %d is not known here", r.V)
	case r.V == 2 && r.Content.IsZero():
		return fmt.Errorf("content is missing")
	case r.Version < 1:
		return fmt.Errorf("version of the name is %d, want 1 or more", r.Version)
	case r.Version == 1 && !r.Prev.IsZero():
		return fmt.Errorf("the first version names a previous one")
	case r.Created <= 0 || r.Created > lastSecond:
		return fmt.Errorf("created %d is not a date", r.Created)
	case r.Placed <= 0 || r.Placed > lastSecond:
		return fmt.Errorf("placed %d is not a date", r.Placed)
	case len(r.Body) == 0:
		return fmt.Errorf("body is missing")
	}
	if err := checkAlias(r.Alias); err != nil {
		return err
	}
	return acting(r.Owner, r.Key, r.Delegation, RightWrite, r.Placed)
}

// refBody is the body's CBOR.
type refBody struct {
	V       int         `cbor:"v"` // 1
	Name    string      `cbor:"name"`
	Root    sealed      `cbor:"root"`
	Size    core.Size   `cbor:"size"`
	Task    core.TaskID `cbor:"task"`
	Records []sealed    `cbor:"records"`
	Mode    uint32      `cbor:"mode,omitempty"`
	RootKey []byte      `cbor:"root_key,omitempty"`
}

// sealed is a core.Sealed as the array [hash, size, key, plain size].
type sealed struct {
	_     struct{} `cbor:",toarray"`
	Hash  core.Hash
	Size  core.Size
	Key   core.Key
	Plain core.Size
}

func toSealed(s core.Sealed) sealed {
	return sealed{Hash: s.Hash, Size: s.Size, Key: s.Key, Plain: s.Plain}
}
func (s sealed) fromSealed() core.Sealed {
	return core.Sealed{Hash: s.Hash, Size: s.Size, Key: s.Key, Plain: s.Plain}
}

// encode is the body's CBOR.
func (body RefBody) encode() ([]byte, error) {
	b := refBody{V: 1, Name: body.Name, Root: toSealed(body.Root), Size: body.Size, Task: body.Task,
		Records: []sealed{},
		Mode:    body.Mode, RootKey: body.RootKey}
	for _, r := range body.Records {
		b.Records = append(b.Records, toSealed(r))
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	return cborEncode(b)
}

func (o *Owner) sealBody(body RefBody) ([]byte, error) {
	if !body.Forgotten() {
		body.RootKey = nil // it stands in Root
	}
	plain, err := body.encode()
	if err != nil {
		return nil, err
	}
	return o.encrypt(plain)
}

func (o *Owner) encrypt(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	to, err := o.recipients()
	if err != nil {
		return nil, err
	}
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// OpenRefBody decrypts the body of a ref of this owner and checks that the alias really is its name's.
func (o *Owner) OpenRefBody(r Ref) (RefBody, error) {
	if o.shared != nil {
		return o.shared.opens(r)
	}
	var raw []byte
	var err error
	if o.writer != nil {
		raw, err = o.noted(r)
	} else {
		raw, err = o.decrypt(r.Body)
	}
	if err != nil {
		return RefBody{}, fmt.Errorf("open ref %s.%d: %w", r.Alias, r.Version, err)
	}
	body, err := decodeRefBody(raw)
	if err == nil && o.writer == nil && len(body.RootKey) > 0 {
		err = o.openRootKey(&body)
	}
	switch {
	case err != nil:
	case o.Alias(body.Name) != r.Alias:
		err = fmt.Errorf("its name has another alias")
	case r.V > 1 && body.Root.Hash != r.Content:
		err = fmt.Errorf("it is of other content than its body")
	}
	if err != nil {
		return RefBody{}, core.Fail(core.CodeWrong, "open ref %s.%d: %w", r.Alias, r.Version, err)
	}
	return body, nil
}

func (o *Owner) decrypt(body []byte) ([]byte, error) {
	id := o.age
	if o.reader != nil {
		id = o.reader.age
	}
	plain, err := age.Decrypt(bytes.NewReader(body), id)
	if _, other := errors.AsType[*age.NoIdentityMatchError](err); other && o.reader != nil {
		err = core.Fail(core.CodeRefused, "it is not sealed to this identity: it was made before that could read, or after it "+
			"was taken back")
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(plain)
}

// decodeRefBody reads a body's CBOR.
func decodeRefBody(raw []byte) (RefBody, error) {
	var b refBody
	err := cborDecode(raw, &b)
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return RefBody{}, err
	}
	body := RefBody{Name: b.Name, Root: b.Root.fromSealed(), Size: b.Size, Task: b.Task, Mode: b.Mode,
		RootKey: b.RootKey}
	for _, s := range b.Records {
		body.Records = append(body.Records, s.fromSealed())
	}
	return body, nil
}

func (b refBody) check() error {
	switch {
	case b.V != 1:
		return fmt.Errorf("body version %d is not known here", b.V)
	case b.Name == "" || !utf8.ValidString(b.Name):
		return fmt.Errorf("name %q is empty or not UTF-8", b.Name)
	case b.Root.Hash.IsZero():
		return fmt.Errorf("root is missing")
	case b.Size < 0:
		return fmt.Errorf("negative size %d", b.Size)
	case b.Mode != 0 && b.Mode&^permissions != modeRegular:
		return fmt.Errorf("mode %o is not that of a file", b.Mode)
	}
	for i, s := range append([]sealed{b.Root}, b.Records...) {
		if s.Size < 0 || s.Plain < 0 || s.Hash.IsZero() {
			return fmt.Errorf("sealed chunk %d of the body has no hash or a negative size", i)
		}
	}
	return nil
}
