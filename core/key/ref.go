package key

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"filippo.io/age"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// RefType is the payload type of a ref.
const RefType = "application/vnd.bkp.ref.v1+cbor"

// Ref is the sealed pointer to one version of a name, as peers keep it.
type Ref struct {
	V          int       `cbor:"v"` // 1
	Owner      core.ID   `cbor:"owner"`
	Alias      string    `cbor:"alias"`
	Version    int       `cbor:"version"` // from 1
	Prev       core.Hash `cbor:"prev"`    // RefHash of the previous version's envelope, zero where there is none
	Created    int64     `cbor:"created"` // Unix seconds
	Body       []byte    `cbor:"body"`    // age file over a RefBody, readable by the owner only
	Key        []byte    `cbor:"key"`     // the signer's public key
	Delegation []byte    `cbor:"delegation,omitempty"`
}

// RefBody is what a ref tells its owner.
type RefBody struct {
	Name    string
	Root    core.Sealed // of the manifest
	Size    core.Size   // of the plain file
	Task    core.TaskID // zero before placement
	Records []core.Sealed
}

// SealRef encrypts body and signs the ref as its owner, filling V, Owner, Key, Alias and Body.
func (o *Owner) SealRef(r Ref, body RefBody) ([]byte, error) {
	r.Owner, r.Alias = o.ID(), o.Alias(body.Name)
	var err error
	if r.Body, err = o.sealBody(body); err != nil {
		return nil, fmt.Errorf("seal ref of %q: %w", body.Name, err)
	}
	return o.signer.SignRef(r)
}

// SignRef signs r as the owner that it names, or as a delegate whose delegation it carries. It fills V and Key.
func (s *Signer) SignRef(r Ref) ([]byte, error) {
	r.V, r.Key = 1, s.Public()
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("sign ref %s.%d: %w", r.Alias, r.Version, err)
	}
	payload, err := cborEncode(r)
	if err != nil {
		return nil, fmt.Errorf("sign ref %s.%d: %w", r.Alias, r.Version, err)
	}
	return s.Envelope(RefType, payload)
}

// OpenRef returns a ref that its owner or a delegate with the right to write really signed: a delegation must have stood
// when the ref was made. Who takes it in now asks Allowed too. Body is still sealed.
func OpenRef(envelope []byte) (Ref, error) {
	var r Ref
	_, err := OpenEnvelope(envelope, RefType, func(payload []byte) (ed25519.PublicKey, error) {
		err := cborDecode(payload, &r)
		return r.Key, err
	})
	if err == nil {
		err = sameSpelling(envelope)
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

// RefHash is what the next version's Prev says of this envelope.
func RefHash(envelope []byte) core.Hash { return blake3.Sum256(envelope) }

func (r Ref) check() error {
	switch {
	case r.V != 1:
		return fmt.Errorf("version %d is not known here", r.V)
	case r.Version < 1:
		return fmt.Errorf("version of the name is %d, want 1 or more", r.Version)
	case r.Version == 1 && !r.Prev.IsZero():
		return fmt.Errorf("the first version names a previous one")
	case r.Created <= 0 || r.Created > lastSecond:
		return fmt.Errorf("created %d is not a date", r.Created)
	case len(r.Body) == 0:
		return fmt.Errorf("body is missing")
	}
	if err := checkAlias(r.Alias); err != nil {
		return err
	}
	return acting(r.Owner, r.Key, r.Delegation, RightWrite, r.Created)
}

// refBody is the body's CBOR.
type refBody struct {
	V       int         `cbor:"v"` // 1
	Name    string      `cbor:"name"`
	Root    sealed      `cbor:"root"`
	Size    core.Size   `cbor:"size"`
	Task    core.TaskID `cbor:"task"`
	Records []sealed    `cbor:"records"`
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

func (o *Owner) sealBody(body RefBody) ([]byte, error) {
	b := refBody{V: 1, Name: body.Name, Root: toSealed(body.Root), Size: body.Size, Task: body.Task, Records: []sealed{}}
	for _, r := range body.Records {
		b.Records = append(b.Records, toSealed(r))
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	plain, err := cborEncode(b)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, o.age.Recipient())
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
	plain, err := age.Decrypt(bytes.NewReader(r.Body), o.age)
	if err != nil {
		return RefBody{}, fmt.Errorf("open ref %s.%d: %w", r.Alias, r.Version, err)
	}
	raw, err := io.ReadAll(plain)
	if err != nil {
		return RefBody{}, fmt.Errorf("open ref %s.%d: %w", r.Alias, r.Version, err)
	}
	var b refBody
	if err = cborDecode(raw, &b); err == nil {
		err = b.check()
	}
	if err == nil && o.Alias(b.Name) != r.Alias {
		err = fmt.Errorf("its name has another alias")
	}
	if err != nil {
		return RefBody{}, core.Fail(core.CodeWrong, "open ref %s.%d: %w", r.Alias, r.Version, err)
	}
	body := RefBody{Name: b.Name, Root: b.Root.fromSealed(), Size: b.Size, Task: b.Task}
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
	}
	for i, s := range append([]sealed{b.Root}, b.Records...) {
		if s.Size < 0 || s.Plain < 0 || s.Hash.IsZero() {
			return fmt.Errorf("sealed chunk %d of the body has no hash or a negative size", i)
		}
	}
	return nil
}
