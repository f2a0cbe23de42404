// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// Signer signs heads with the node's key; *key.Signer is one.
type Signer = key.HeadSigner

// SignedHead is a node's word on all that its log held at one moment.
type SignedHead = key.SignedHead

// mark is a signed head as it stands on disk: with the place in the file of entries that it reaches to.
type mark struct {
	SignedHead
	bytes int64
}

const (
	markVersion = 1
	markSize    = 1 + 8 + 8 + 32 + ed25519.PublicKeySize + ed25519.SignatureSize
)

func (m mark) encode() []byte {
	out := append(make([]byte, 0, markSize), markVersion)
	out = binary.LittleEndian.AppendUint64(out, uint64(m.Size))
	out = binary.LittleEndian.AppendUint64(out, uint64(m.bytes))
	out = append(out, m.Root[:]...)
	out = append(out, core.PublicKey(m.Key).Last()...)
	return append(out, m.Signature...)
}

// parseMark reads a record of markSize bytes and checks its signature. Of a key that was rotated the record has the last
// only: keys, those of the log's node, tell whose it is.
func parseMark(raw []byte, keys core.PublicKey) (mark, error) {
	if len(raw) != markSize || raw[0] != markVersion {
		return mark{}, fmt.Errorf("not a signed head")
	}
	m := mark{bytes: int64(binary.LittleEndian.Uint64(raw[9:]))}
	m.Size = int64(binary.LittleEndian.Uint64(raw[1:]))
	m.Root = core.Hash(raw[17:49])
	m.Key = whole(raw[49:81], keys)
	m.Signature = raw[81:]
	if m.bytes < int64(len(magic)) || m.Size > m.bytes {
		return mark{}, fmt.Errorf("head over %d entries in %d bytes", m.Size, m.bytes)
	}
	return m, m.Check()
}

// whole is the public key of which last is the last key: one of keys, or else a key that was never rotated.
func whole(last []byte, keys core.PublicKey) core.PublicKey {
	for k := range keys.All() {
		if bytes.Equal(k.Last(), last) {
			return k
		}
	}
	return last
}

// readMark reads record number i of the file of heads.
func readMark(heads io.ReaderAt, i int64, keys core.PublicKey) (mark, error) {
	raw := make([]byte, markSize)
	if _, err := heads.ReadAt(raw, i*markSize); err != nil {
		return mark{}, fmt.Errorf("read head %d: %w", i, err)
	}
	m, err := parseMark(raw, keys)
	if err != nil {
		return mark{}, fmt.Errorf("head %d: %w", i, err)
	}
	return m, nil
}

// lastMark is the newest good head and its number. One bad record at the end is what a crash leaves, or
// what a reader sees while it is being written; a second one is damage. Without any head the number is -1.
func lastMark(heads *os.File, keys core.PublicKey) (last mark, number int64, err error) {
	info, err := heads.Stat()
	if err != nil {
		return mark{}, -1, err
	}
	number = info.Size()/markSize - 1
	for try := 0; number >= 0; try++ {
		if last, err = readMark(heads, number, keys); err == nil {
			return last, number, nil
		}
		if try == 1 {
			return mark{}, -1, core.Fail(core.CodeWrong, "damaged: %w", err)
		}
		number--
	}
	return mark{}, -1, nil
}
