// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// ID names a node or an owner: the BLAKE3-256 digest of a raw Ed25519 public key.
// Its text is 52 characters of lower-case unpadded base32, accepted with or without dashes.
type ID [32]byte

var idText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseID reads the text of an ID, grouped by dashes or not, in either case.
func ParseID(s string) (ID, error) {
	var id ID
	raw, err := idText.DecodeString(strings.ToLower(strings.ReplaceAll(s, "-", "")))
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("not an ID (52 characters of base32): %q", s)
	}
	copy(id[:], raw)
	if id.String() != strings.ToLower(strings.ReplaceAll(s, "-", "")) {
		return ID{}, fmt.Errorf("not an ID (stray bits in its last character): %q", s)
	}
	return id, nil
}

func (id ID) String() string { return idText.EncodeToString(id[:]) }

// Short is the first eight characters: enough for a person to tell nodes apart in a table.
func (id ID) Short() string { return id.String()[:8] }

// Grouped is the text in groups of four with dashes, for reading aloud.
func (id ID) Grouped() string {
	var parts []string
	for s := range slices.Chunk([]byte(id.String()), 4) {
		parts = append(parts, string(s))
	}
	return strings.Join(parts, "-")
}

func (id ID) IsZero() bool { return id == ID{} }

// Compare orders IDs by their bytes.
func (id ID) Compare(other ID) int { return slices.Compare(id[:], other[:]) }

// Sorted is the keys of a map in an order that does not change.
func Sorted[V any](m map[ID]V) []ID { return slices.SortedFunc(maps.Keys(m), ID.Compare) }

func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

func (id *ID) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	*id, err = ParseID(string(text))
	return err
}

// Hash is a BLAKE3-256 digest; which bytes it covers stands beside each field. Its text is lower-case hex.
type Hash [32]byte

// ParseHash reads 64 hex digits.
func ParseHash(s string) (Hash, error) {
	var h Hash
	return h, fromHex(h[:], s)
}

func (h Hash) String() string { return hex.EncodeToString(h[:]) }
func (h Hash) IsZero() bool   { return h == Hash{} }

// Compare orders hashes by their bytes.
func (h Hash) Compare(other Hash) int { return slices.Compare(h[:], other[:]) }

func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }
func (h *Hash) UnmarshalText(text []byte) error {
	return fromHex(h[:], string(text))
}

// Nonce is 16 random bytes that name something once: a task, a licence.
type Nonce [16]byte

// TaskID names one placement.
type TaskID = Nonce

// LicenseID names one licence.
type LicenseID = Nonce

func (n Nonce) String() string               { return hex.EncodeToString(n[:]) }
func (n Nonce) IsZero() bool                 { return n == Nonce{} }
func (n Nonce) Compare(other Nonce) int      { return slices.Compare(n[:], other[:]) }
func (n Nonce) MarshalText() ([]byte, error) { return []byte(n.String()), nil }
func (n *Nonce) UnmarshalText(text []byte) error {
	return fromHex(n[:], string(text))
}

func fromHex(dst []byte, s string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("want %d hex digits, got %d characters", 2*len(dst), len(s))
	}
	if s != strings.ToLower(s) {
		return fmt.Errorf("hex must be lower-case: %q", s)
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}

// NewTaskID is a task of an owner: the first eight bytes tell whose, so that nobody else can use it first.
func NewTaskID(owner ID, random [8]byte) (t TaskID) {
	mark := taskMark(owner)
	copy(t[:], mark[:])
	copy(t[8:], random[:])
	return t
}

// IsOf reports whether a task's ID says that it is of this owner. Those of earlier releases say nothing.
func (t TaskID) IsOf(owner ID) bool {
	mark := taskMark(owner)
	return [8]byte(t[:8]) == mark
}

func taskMark(owner ID) [8]byte {
	sum := sha256.Sum256(append([]byte("bkp task v1"), owner[:]...))
	return [8]byte(sum[:8])
}

// Bitmap is a set of small numbers, one bit each, lowest bit of the first byte first. On the wire it is base64.
type Bitmap []byte

// NewBitmap has room for n numbers, none of them set.
func NewBitmap(n int) Bitmap { return make(Bitmap, (n+7)/8) }

// FullBitmap has the numbers 0 to n-1 set.
func FullBitmap(n int) Bitmap {
	b := NewBitmap(n)
	for i := range n {
		b.Set(i)
	}
	return b
}

func (b Bitmap) Set(i int) { b[i/8] |= 1 << (i % 8) }

// Clear takes i out.
func (b Bitmap) Clear(i int) { b[i/8] &^= 1 << (i % 8) }

// Empty reports whether no number is set.
func (b Bitmap) Empty() bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// Each calls f for every number that is set, in order.
func (b Bitmap) Each(f func(i int)) {
	for at, x := range b {
		for ; x != 0; x &= x - 1 {
			f(8*at + bits.TrailingZeros8(x))
		}
	}
}

// Ranges is the bits that are set.
func (b Bitmap) Ranges() []Range {
	var set []int
	b.Each(func(i int) { set = append(set, i) })
	return Ranges(set)
}

// Has reports whether i is set; a number beyond the end is not.
func (b Bitmap) Has(i int) bool { return i >= 0 && i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

// Count is how many of the first n numbers are set.
func (b Bitmap) Count(n int) (set int) {
	for i := range n {
		if b.Has(i) {
			set++
		}
	}
	return set
}

// Or adds every number of other; both must have the same length.
func (b Bitmap) Or(other Bitmap) {
	for i := range min(len(b), len(other)) {
		b[i] |= other[i]
	}
}

// Range is the numbers Start to Start+Length-1.
type Range struct {
	Start  int `json:"start"`
	Length int `json:"length"`
}

// InRanges reports whether one of the ranges has the number.
func InRanges(ranges []Range, number int) bool {
	return slices.ContainsFunc(ranges, func(r Range) bool { return number >= r.Start && number < r.Start+r.Length })
}

// Ranges turns numbers into the fewest ranges that cover exactly them, in ascending order.
func Ranges(numbers []int) []Range {
	sorted := slices.Clone(numbers)
	slices.SortFunc(sorted, cmp.Compare[int])
	var out []Range
	for _, n := range slices.Compact(sorted) {
		if last := len(out) - 1; last >= 0 && out[last].Start+out[last].Length == n {
			out[last].Length++
			continue
		}
		out = append(out, Range{Start: n, Length: 1})
	}
	return out
}

// Epoch is 64 random bits drawn when a node starts; what an older epoch leased is void.
type Epoch uint64

func (e Epoch) String() string               { return fmt.Sprintf("%016x", uint64(e)) }
func (e Epoch) MarshalText() ([]byte, error) { return []byte(e.String()), nil }
func (e *Epoch) UnmarshalText(text []byte) error {
	var raw [8]byte
	if err := fromHex(raw[:], string(text)); err != nil {
		return err
	}
	*e = Epoch(binary.BigEndian.Uint64(raw[:]))
	return nil
}
