// SPDX-License-Identifier: Apache-2.0

package key

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

var cborEncoding = must(cbor.CoreDetEncOptions().EncMode())

var cborDecoding = must(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	IndefLength:       cbor.IndefLengthForbidden,
	TagsMd:            cbor.TagsForbidden,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	MaxNestedLevels:   4,
}.DecMode())

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are constants
	}
	return v
}

func cborEncode(v any) ([]byte, error) { return cborEncoding.Marshal(v) }

// cborDecode reads deterministic CBOR and nothing else: what v would be written as must be what was read.
func cborDecode[T any](data []byte, v *T) error {
	if err := cborDecoding.Unmarshal(data, v); err != nil {
		return err
	}
	again, err := cborEncode(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, data) {
		return fmt.Errorf("not deterministic CBOR")
	}
	return nil
}
