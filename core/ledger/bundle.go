// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/bkp-tool/bkp/core"
)

const (
	// bundleMagic begins a bundle; the digit is its version. Only in version 2 the node's public key follows, where it
	// was rotated.
	bundleMagic   = "bkp ledger bundle v1\n"
	rotatedBundle = "bkp ledger bundle v2\n"
	// kindHead is the kind of a head's record in a bundle. No entry has it.
	kindHead = 255
	// MaxBundle bounds a bundle: some ten million entries, of which a verification remembers a gigabyte. A longer log
	// is verified where it stands.
	MaxBundle = 16 * core.GiB
)

// Export writes the log as a bundle, one stream with all that VerifyBundle needs, and returns the head that it ends
// with.
func (r *Reader) Export(out io.Writer) (SignedHead, error) {
	newest, err := r.newest()
	if err != nil {
		return SignedHead{}, err
	}
	if newest.bytes > int64(MaxBundle)/2 { // the heads come to less than the entries
		return SignedHead{}, core.Fail(core.CodeRefused, "ledger %s: %s are more than a bundle takes", r.dir,
			core.Size(newest.bytes))
	}
	if err := r.export(bufio.NewWriterSize(out, 1<<16), newest); err != nil {
		return SignedHead{}, fmt.Errorf("export ledger %s: %w", r.dir, err)
	}
	return newest.SignedHead, nil
}

func (r *Reader) export(out *bufio.Writer, newest mark) error {
	if len(r.keys) == 0 {
		out.WriteString(bundleMagic) // what fails is told by Flush
	} else {
		out.WriteString(rotatedBundle)
		out.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(r.keys))))
		out.Write(r.keys)
	}
	out.Write(newest.encode())
	heads, s := r.marks(), newScanner(r.entries, 0, int64(len(magic)), newest.bytes)
	var record []byte
	for {
		for ; heads.has && heads.next.Size <= s.next; heads.advance() {
			record = appendFramed(record[:0], s.next, kindHead, heads.next.encode())
			out.Write(record)
		}
		if heads.err != nil {
			return core.Fail(core.CodeWrong, "damaged: %w", heads.err)
		}
		if s.next == newest.Size {
			return out.Flush()
		}
		e, err := s.scan()
		if err != nil {
			return core.Fail(core.CodeWrong, "damaged: %w", err)
		}
		record = appendRecord(record[:0], e)
		if _, err := out.Write(record); err != nil {
			return err
		}
	}
}

// VerifyBundle is Verify for a bundle of at most limit bytes: all that it takes are public keys, which stand in it.
// Whose log it is the report says; known gives the heads of that node that are known from elsewhere, and may be nil.
func VerifyBundle(in io.Reader, limit core.Size, known func(core.ID) []SignedHead) (Report, error) {
	rest := &io.LimitedReader{R: in, N: int64(limit)}
	keys, err := bundleKeys(rest)
	if err != nil {
		return Report{}, err
	}
	head := make([]byte, markSize)
	if _, err := io.ReadFull(rest, head); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return Report{}, fmt.Errorf("read bundle: %w", err)
	}
	newest, err := parseMark(head, keys)
	if err != nil {
		return Report{}, core.Fail(core.CodeWrong, "verify bundle: its first head: %w", err)
	}
	var heads []SignedHead
	if known != nil {
		heads = known(newest.Node())
	}
	a := newAudit(newest, heads)
	a.keys = keys
	s := &scanner{in: bufio.NewReaderSize(in, 1<<16), end: rest.N}
	return a.result("bundle", a.bundle(s))
}

// bundleKeys reads how a bundle begins: the public key in it is empty where it was never rotated.
func bundleKeys(in io.Reader) (core.PublicKey, error) {
	magic := make([]byte, len(bundleMagic))
	if _, err := io.ReadFull(in, magic); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	switch string(magic) {
	case bundleMagic:
		return nil, nil
	case rotatedBundle:
	default:
		return nil, core.Fail(core.CodeWrong, "that is no bundle of a ledger")
	}
	var size [2]byte
	_, err := io.ReadFull(in, size[:])
	raw := make([]byte, min(int(binary.LittleEndian.Uint16(size[:])), core.MaxPublicKey))
	if err == nil {
		_, err = io.ReadFull(in, raw)
	}
	keys, wrong := core.ParsePublicKey(raw)
	if err != nil || wrong != nil {
		return nil, core.Fail(core.CodeWrong, "verify bundle: its public key: %w", cmp.Or(err, wrong))
	}
	return keys, nil
}

// bundle reads the records of a bundle: entries, and heads behind those that they reach to.
func (a *audit) bundle(s *scanner) error {
	at := int64(len(magic)) // where the entries so far end in the log itself
	var last mark
	for {
		hash, err := a.tree.root()
		if err != nil {
			return err
		}
		root := core.Hash(hash)
		a.compareKnown(root)
		if _, err := s.in.Peek(1); err == io.EOF {
			a.bundleEnds(last, root)
			return nil
		}
		if s.at >= s.end {
			return core.Fail(core.CodeRefused, "it is longer than a bundle may be")
		}
		code, body, err := s.framed()
		if errors.Is(err, errTorn) {
			a.problem("entry %d is cut or damaged, and a head was signed over %d entries", s.next, a.newest.Size)
			return nil
		}
		if err != nil {
			return err
		}
		s.at += int64(len(body)) + recordOverhead
		kind, known := kindOf(code)
		switch {
		case code == kindHead:
			switch last, err = parseMark(body, a.keys); {
			case err != nil:
				a.problem("head behind %d entries: %v", s.next, err)
			case last.Size > s.next:
				a.problem("head over %d entries stands behind %d", last.Size, s.next)
			default:
				a.compareMark(last, root, at)
			}
			continue
		case !known:
			a.problem("entry %d is of a kind that is not known here (%d)", s.next, code)
			return nil
		}
		if err := a.entry(Entry{Index: s.next, Kind: kind, Envelope: body}, nil); err != nil {
			return err
		}
		s.next++
		at += int64(len(body)) + recordOverhead
	}
}

// bundleEnds holds what was read against the head that the bundle began with.
func (a *audit) bundleEnds(last mark, root core.Hash) {
	switch n := a.tree.leaves; {
	case n < a.newest.Size:
		a.problem("it was cut: it ends with entry %d, and a head was signed over %d entries", n-1, a.newest.Size)
	case n > a.newest.Size:
		a.problem("%d entries follow on the last that a head was signed over", n-a.newest.Size)
	case !bytes.Equal(last.encode(), a.newest.encode()):
		a.problem("it was cut: the head that it begins with does not end it")
	default:
		a.compare(a.newest.SignedHead, root)
	}
}
