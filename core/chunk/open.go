// SPDX-License-Identifier: Apache-2.0

package chunk

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// Opener opens sealed chunks. One goroutine may use it at a time; it owns its decompressor and its memory.
type Opener struct {
	decompress decompressor
	body       []byte // decrypted, still compressed; reused
}

// NewOpener makes an Opener. It needs no secrets: each sealed chunk has its own key.
func NewOpener() *Opener { return &Opener{decompress: newDecompressor()} }

// OpenSealed appends the plain bytes of what s points to to dst. Whatever is wrong with stored is core.CodeWrong; then
// dst's spare room holds nothing of use. It does not compute the hash of stored: the seal authenticates the bytes to
// whoever has the key, the hash does for those who have not.
func (o *Opener) OpenSealed(dst []byte, kind core.Kind, s core.Sealed, stored []byte) ([]byte, error) {
	plain, err := o.open(dst, kind, s, stored)
	if err != nil {
		return nil, core.Fail(core.CodeWrong, "open sealed %s %s: %w", kind, s.Hash, err)
	}
	return plain, nil
}

func (o *Opener) open(dst []byte, kind core.Kind, s core.Sealed, stored []byte) ([]byte, error) {
	if core.Size(len(stored)) != s.Size {
		return nil, fmt.Errorf("%d stored bytes, want %d", len(stored), s.Size)
	}
	if s.Plain < 0 || s.Plain > MaxPlain {
		return nil, fmt.Errorf("%d plain bytes: a chunk holds at most %d", s.Plain, MaxPlain)
	}
	if len(stored) < Overhead {
		return nil, fmt.Errorf("%d bytes are too few for a sealed chunk", len(stored))
	}
	if len(stored) > MaxStored {
		return nil, fmt.Errorf("%d bytes are more than a sealed chunk has", len(stored))
	}
	header, sealed := stored[:headerSize], stored[headerSize:]
	nonce, method := header[2:], header[1]
	switch {
	case header[0] != version:
		return nil, fmt.Errorf("version %d is not known here (have %d)", header[0], version)
	case method != methodPlain && method != methodZstd:
		return nil, fmt.Errorf("method %d is not known here", method)
	case method == methodPlain && [nonceSize]byte(nonce) != [nonceSize]byte{}:
		return nil, fmt.Errorf("nonce %x does not fit method 0", nonce)
	case method == methodZstd && nonce[0] != methodZstd:
		return nil, fmt.Errorf("nonce %x does not fit method 1", nonce)
	}
	aead, err := newAEAD(s.Key)
	if err != nil {
		return nil, err
	}
	var plain []byte
	if method == methodPlain {
		plain, err = aead.Open(dst, nonce, sealed, associated(header, kind))
	} else if o.body, err = aead.Open(o.body[:0], nonce, sealed, associated(header, kind)); err == nil {
		plain, err = o.decompress(dst, o.body, int(s.Plain))
	}
	if err != nil {
		return nil, err
	}
	if got := core.Size(len(plain) - len(dst)); got != s.Plain {
		return nil, fmt.Errorf("%d plain bytes, want %d", got, s.Plain)
	}
	return plain, nil
}
