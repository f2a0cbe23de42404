// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

func drawOwner(t *testing.T) *key.Owner {
	t.Helper()
	o, err := key.NewOwner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// sealed makes the envelope of a version, as split does.
func sealedAs(o *key.Owner, name string) func(int, []byte) ([]byte, error) {
	return func(version int, previous []byte) ([]byte, error) {
		r := key.Ref{Version: version, Created: time.Now().Unix()}
		if previous != nil {
			r.Prev = key.RefHash(previous)
		}
		return o.SealRef(r, key.RefBody{Name: name, Root: core.Sealed{Hash: core.Hash{1}}, Size: core.Size(version)})
	}
}
