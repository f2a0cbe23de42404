package key

import (
	"bytes"
	"errors"
	"fmt"
	"io"

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
	plain, err := json.Marshal(identityFile{
		V: 1, OwnerSeed: o.signer.Seed(), AgeIdentity: o.age.String(), DedupSecret: o.DedupSecret, Peers: o.Peers,
	}, jsontext.WithIndent("  "))
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

// ParseOwner reads an identity file. The passphrase is used only where the file is under one.
func ParseOwner(data []byte, passphrase string) (*Owner, error) {
	if core.Size(len(data)) > maxIdentity {
		return nil, fmt.Errorf("read identity: %d bytes, at most %d are allowed", len(data), maxIdentity)
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(armor.Header)) {
		plain, err := unlock(data, passphrase)
		if err != nil {
			return nil, fmt.Errorf("read identity: %w", err)
		}
		data = plain
	}
	var f identityFile
	if err := json.Unmarshal(data, &f, strict); err != nil {
		return nil, fmt.Errorf("read identity: %w", withoutSecrets(err))
	}
	if f.V != 1 {
		return nil, fmt.Errorf("read identity: version %d is not known here", f.V)
	}
	if f.OwnerSeed == [32]byte{} || f.DedupSecret == [32]byte{} {
		return nil, fmt.Errorf("read identity: owner_seed or dedup_secret is missing")
	}
	id, err := age.ParseX25519Identity(f.AgeIdentity)
	if err != nil {
		return nil, fmt.Errorf("read identity: age_identity is not an AGE-SECRET-KEY-1")
	}
	return &Owner{Peers: f.Peers, DedupSecret: f.DedupSecret, signer: SignerFromSeed(f.OwnerSeed), age: id}, nil
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
