// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// Signer signs heads with the node's key; *key.Signer is one.
type Signer interface {
	ID() core.ID
	Public() ed25519.PublicKey
	Sign(msg []byte) []byte
}

// SignedHead is a node's word on all that its log held at one moment.
type SignedHead struct {
	Size      int64     `json:"size"` // entries
	Root      core.Hash `json:"root"` // of the Merkle tree over them: SHA-256, as in RFC 6962
	Key       []byte    `json:"key"`  // the node's public key
	Signature []byte    `json:"signature"`
}

// Node is the ID of the key that signed.
func (h SignedHead) Node() core.ID { return key.IDOf(h.Key) }

// Check returns nil where the signature is good.
func (h SignedHead) Check() error {
	switch err := core.CheckPublicKey(h.Key); {
	case err != nil:
		return fmt.Errorf("head over %d entries: %w", h.Size, err)
	case h.Size < 0:
		return fmt.Errorf("head over %d entries", h.Size)
	case !ed25519.Verify(h.Key, h.message(), h.Signature):
		return fmt.Errorf("head over %d entries: the signature of %s does not fit", h.Size, h.Node())
	}
	return nil
}

func (h SignedHead) message() []byte {
	return fmt.Appendf(nil, "bkp ledger head v1\n%d\n%s\n", h.Size, h.Root)
}

func signHead(size int64, root tlog.Hash, signer Signer) SignedHead {
	h := SignedHead{Size: size, Root: core.Hash(root), Key: signer.Public()}
	h.Signature = signer.Sign(h.message())
	return h
}

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
	out = append(out, m.Key...)
	return append(out, m.Signature...)
}

// parseMark reads a record of markSize bytes and checks its signature.
func parseMark(raw []byte) (mark, error) {
	if len(raw) != markSize || raw[0] != markVersion {
		return mark{}, fmt.Errorf("not a signed head")
	}
	m := mark{bytes: int64(binary.LittleEndian.Uint64(raw[9:]))}
	m.Size = int64(binary.LittleEndian.Uint64(raw[1:]))
	m.Root = core.Hash(raw[17:49])
	m.Key = raw[49:81]
	m.Signature = raw[81:]
	if m.bytes < int64(len(magic)) || m.Size > m.bytes {
		return mark{}, fmt.Errorf("head over %d entries in %d bytes", m.Size, m.bytes)
	}
	return m, m.Check()
}

// readMark reads record number i of the file of heads.
func readMark(heads io.ReaderAt, i int64) (mark, error) {
	raw := make([]byte, markSize)
	if _, err := heads.ReadAt(raw, i*markSize); err != nil {
		return mark{}, fmt.Errorf("read head %d: %w", i, err)
	}
	m, err := parseMark(raw)
	if err != nil {
		return mark{}, fmt.Errorf("head %d: %w", i, err)
	}
	return m, nil
}

// lastMark is the newest good head and its number. One bad record at the end is what a crash leaves, or
// what a reader sees while it is being written; a second one is damage. Without any head the number is -1.
func lastMark(heads *os.File) (last mark, number int64, err error) {
	info, err := heads.Stat()
	if err != nil {
		return mark{}, -1, err
	}
	number = info.Size()/markSize - 1
	for try := 0; number >= 0; try++ {
		if last, err = readMark(heads, number); err == nil {
			return last, number, nil
		}
		if try == 1 {
			return mark{}, -1, core.Fail(core.CodeWrong, "damaged: %w", err)
		}
		number--
	}
	return mark{}, -1, nil
}
