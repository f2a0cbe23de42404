// SPDX-License-Identifier: Apache-2.0

package key

import (
	"bytes"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// Whatever a body's plain CBOR says, it is refused, or is what would be written.
func FuzzRefBody(f *testing.F) {
	good, err := cborEncode(refBody{V: 1, Name: "big.iso", Root: sealed{Hash: core.Hash{1}}, Records: []sealed{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0xa1, 0x61, 'v', 1})
	f.Fuzz(func(t *testing.T, plain []byte) {
		var b refBody
		if cborDecode(plain, &b) != nil || b.check() != nil {
			return
		}
		if again, err := cborEncode(b); err != nil || !bytes.Equal(again, plain) || b.Name == "" || b.Size < 0 {
			t.Errorf("%+v", b)
		}
	})
}
