package chunk

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/klauspost/compress/zstd"
)

// Opener opens sealed chunks. One goroutine may use it at a time; it owns its decompressor and its memory.
type Opener struct {
	zstd *zstd.Decoder
	body []byte // decrypted, still compressed; reused
}

// NewOpener makes an Opener. It needs no secrets: each sealed chunk has its own key.
func NewOpener() *Opener {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxPlain), zstd.WithDecoderMaxWindow(MaxPlain))
	if err != nil {
		panic("chunk.NewOpener: " + err.Error()) // the options are constants
	}
	return &Opener{zstd: d}
}

// Open appends the plain bytes of a sealed chunk to dst. Whatever is wrong with stored is core.CodeWrong; then dst's
// spare room holds nothing of use.
func (o *Opener) Open(dst []byte, kind core.Kind, k core.Key, stored []byte) ([]byte, error) {
	plain, err := o.open(dst, kind, k, stored)
	if err != nil {
		return nil, core.Fail(core.CodeWrong, "open sealed %s: %w", kind, err)
	}
	return plain, nil
}

// OpenSealed opens what s points to and holds it against the sizes that s tells. It does not compute the hash of stored:
// the seal authenticates the bytes to whoever has the key, the hash does for those who have not.
func (o *Opener) OpenSealed(dst []byte, kind core.Kind, s core.Sealed, stored []byte) ([]byte, error) {
	if core.Size(len(stored)) != s.Size {
		return nil, core.Fail(core.CodeWrong, "open sealed %s %s: %d stored bytes, want %d", kind, s.Hash, len(stored), s.Size)
	}
	plain, err := o.Open(dst, kind, s.Key, stored)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Hash, err)
	}
	if got := core.Size(len(plain) - len(dst)); got != s.Plain {
		return nil, core.Fail(core.CodeWrong, "open sealed %s %s: %d plain bytes, want %d", kind, s.Hash, got, s.Plain)
	}
	return plain, nil
}

func (o *Opener) open(dst []byte, kind core.Kind, k core.Key, stored []byte) ([]byte, error) {
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
	aead, err := newAEAD(k)
	if err != nil {
		return nil, err
	}
	if method == methodPlain {
		return aead.Open(dst, nonce, sealed, associated(header, kind))
	}
	if o.body, err = aead.Open(o.body[:0], nonce, sealed, associated(header, kind)); err != nil {
		return nil, err
	}
	plain, err := o.zstd.DecodeAll(o.body, dst[len(dst):]) // its limit counts what is there already
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(dst) == 0 {
		return plain, nil
	}
	return append(dst, plain...), nil
}
