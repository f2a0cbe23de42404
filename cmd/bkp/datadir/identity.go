// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"crypto/rand"
	"fmt"
	"os"

	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// MarkExported notes that a copy of the identity was taken elsewhere.
func (d Dir) MarkExported() error {
	if err := durable.Replace(d.Path("exported"), nil, 0o600); err != nil {
		return fmt.Errorf("note the export: %w", err)
	}
	return nil
}

// IsExported tells whether a copy of the identity was ever taken elsewhere.
func (d Dir) IsExported() bool {
	_, err := os.Stat(d.Path("exported"))
	return err == nil
}

// HasIdentity tells whether an owner has an identity here.
func (d Dir) HasIdentity() bool {
	_, err := os.Stat(d.Path("identity"))
	return err == nil
}

// Identity reads the owner's identity, and draws it at first use; a passphrase given then protects it.
func (d Dir) Identity(phrase string) (text []byte, drawn bool, err error) {
	text, err = d.createOnce("identity", func() ([]byte, error) {
		drawn = true
		o, err := key.NewOwner(rand.Reader)
		if err != nil {
			return nil, err
		}
		return o.Marshal(phrase)
	})
	if err != nil {
		return nil, false, fmt.Errorf("identity: %w", err)
	}
	return text, drawn, nil
}

// ReplaceIdentity puts another identity in the place of the one that is here; with aside, that one is kept beside it,
// as identity.ASIDE.
func (d Dir) ReplaceIdentity(text []byte, aside string) error {
	if aside != "" {
		before, err := os.ReadFile(d.Path("identity"))
		if err == nil {
			err = durable.Replace(d.Path("identity."+aside), before, 0o600)
		}
		if err != nil {
			return fmt.Errorf("keep the identity that is here: %w", err)
		}
	}
	if err := durable.Replace(d.Path("identity"), text, 0o600); err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	return nil
}
