// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

// Kind is what an entry's envelope is.
type Kind string

const (
	KindLicense Kind = "license"
	KindReceipt Kind = "receipt"
	KindRelease Kind = "release" // by the owner: what the node keeps for a task may go
	KindExpired Kind = "expired" // the node's own word that the time is over for which it was to keep runs
	KindLost    Kind = "lost"    // its word that it keeps them no longer though it should
	KindAudit   Kind = "audit"   // its word on what its audits of a placement came to
	// KindCountersigned is the owner's side's word that the newest receipt of the node for a licence came.
	KindCountersigned Kind = "countersigned"
)

// kindBytes are the kinds on disk; 0 is never one, so that zeros are no entry.
var kindBytes = map[Kind]byte{KindLicense: 1, KindReceipt: 2, KindRelease: 3, KindExpired: 4, KindLost: 5,
	KindAudit: 6, KindCountersigned: 7}

func kindOf(b byte) (Kind, bool) {
	for kind, code := range kindBytes {
		if code == b {
			return kind, true
		}
	}
	return "", false
}

// Entry is one line of the log.
type Entry struct {
	Index    int64  `json:"index"` // from 0
	Kind     Kind   `json:"kind"`
	Envelope []byte `json:"envelope"`
}

// leaf is what the tree hashes of an entry.
func (e Entry) leaf() []byte { return append([]byte{kindBytes[e.Kind]}, e.Envelope...) }

const (
	// magic begins the file of entries; the digit is the version of its records.
	magic = "bkp ledger v1\n"
	// recordOverhead is the bytes of a record besides its envelope.
	recordOverhead = 4 + 1 + 4
	maxEnvelope    = int(license.MaxEnvelope)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends the record of e to dst.
func appendRecord(dst []byte, e Entry) []byte {
	return appendFramed(dst, e.Index, kindBytes[e.Kind], e.Envelope)
}

// appendFramed appends a record of any kind, which stands at an index.
func appendFramed(dst []byte, index int64, kind byte, body []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	dst = append(dst, kind)
	dst = append(dst, body...)
	return binary.LittleEndian.AppendUint32(dst, checksum(index, dst[start:]))
}

// checksum covers the entry's number too, so that a record in another's place is noticed.
func checksum(index int64, record []byte) uint32 {
	sum := crc32.Checksum(binary.LittleEndian.AppendUint64(nil, uint64(index)), castagnoli)
	return crc32.Update(sum, castagnoli, record)
}

// errTorn means that the bytes at hand are not the whole record of the wanted entry.
var errTorn = errors.New("not a whole entry")

// scanner reads records one after the other.
type scanner struct {
	in   *bufio.Reader
	next int64 // number of the entry that comes next
	at   int64 // where its record begins
	end  int64 // where to stop
}

func newScanner(file io.ReaderAt, next, at, end int64) *scanner {
	return &scanner{in: bufio.NewReaderSize(io.NewSectionReader(file, at, end-at), 1<<16), next: next, at: at, end: end}
}

// scan returns the next entry, io.EOF exactly at the end, or errTorn.
func (s *scanner) scan() (Entry, error) {
	if s.at == s.end {
		return Entry{}, io.EOF
	}
	code, envelope, err := s.framed()
	if err != nil {
		return Entry{}, err
	}
	kind, known := kindOf(code)
	if !known {
		return Entry{}, s.torn(io.ErrUnexpectedEOF)
	}
	e := Entry{Index: s.next, Kind: kind, Envelope: envelope}
	s.next++
	s.at += int64(len(envelope)) + recordOverhead
	return e, nil
}

// framed reads a record of any kind at the index that comes next, or returns errTorn.
func (s *scanner) framed() (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return 0, nil, s.torn(err)
	}
	size := int64(binary.LittleEndian.Uint32(head[:4]))
	if size > int64(maxEnvelope) || size+recordOverhead > s.end-s.at {
		return 0, nil, s.torn(io.ErrUnexpectedEOF)
	}
	record := make([]byte, size+recordOverhead)
	copy(record, head[:])
	if _, err := io.ReadFull(s.in, record[len(head):]); err != nil {
		return 0, nil, s.torn(err)
	}
	sum := record[len(record)-4:]
	if record = record[:len(record)-4]; binary.LittleEndian.Uint32(sum) != checksum(s.next, record) {
		return 0, nil, s.torn(io.ErrUnexpectedEOF)
	}
	return head[4], record[len(head):], nil
}

// torn is errTorn for bytes that are short or wrong, and err itself where the disk failed.
func (s *scanner) torn(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("entry %d at byte %d: %w", s.next, s.at, errTorn)
	}
	return core.Fail(core.CodeFailed, "read entry %d: %w", s.next, err)
}
