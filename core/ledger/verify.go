// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bkp-tool/bkp/core"
)

// Report is what Verify found.
type Report struct {
	Node     core.ID   `json:"node"` // whose log it is; compare it with the node that you mean
	Size     int64     `json:"size"` // entries under the newest head
	Root     core.Hash `json:"root"` // of the newest head
	Heads    int64     `json:"heads"`
	Licenses int64     `json:"licenses"`
	Receipts int64     `json:"receipts"`
	Releases int64     `json:"releases"`
	Expired  int64     `json:"expired"`
	Lost     int64     `json:"lost"`
	Audits   int64     `json:"audits"` // entries, of one or more audits each

	Countersigned int64    `json:"countersigned"`      // receipts of the node of which the owner's side has said that they came
	Own           int64    `json:"own"`                // receipts of the node
	Problems      []string `json:"problems,omitempty"` // at most maxProblems
}

const maxProblems = 100

func (r *Report) counts() map[Kind]*int64 {
	return map[Kind]*int64{KindLicense: &r.Licenses, KindReceipt: &r.Receipts, KindRelease: &r.Releases,
		KindExpired: &r.Expired, KindLost: &r.Lost, KindAudit: &r.Audits}
}

func (r *Report) problem(format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Verify reads the whole log again and checks it with nothing but public keys: that each entry is whole and well
// signed, that each receipt comes after its licence and receipts form chains, and that every head that the log ever
// signed, and each known one that was taken from it before, is the root of the tree at its size. An error of
// core.CodeWrong tells of the first problem; the report has them all. Other errors mean that it could not be read.
func (r *Reader) Verify(known ...SignedHead) (Report, error) {
	newest, err := r.newest()
	if err != nil {
		return Report{}, err
	}
	a := newAudit(newest, known)
	return a.result("ledger "+r.dir, a.run(r))
}

// newAudit is for a log of which there is a head, and the heads of it that are known from elsewhere.
func newAudit(newest mark, known []SignedHead) *audit {
	a := &audit{
		Report: Report{Node: newest.Node(), Size: newest.Size, Root: newest.Root},
		newest: newest, known: slices.Clone(known), words: newWords(newest.Node()),
	}
	slices.SortStableFunc(a.known, func(x, y SignedHead) int { return cmp.Compare(x.Size, y.Size) })
	return a
}

// result is what the audit of what came to, once the log was read as far as err.
func (a *audit) result(what string, err error) (Report, error) {
	if err != nil {
		return a.Report, fmt.Errorf("verify %s: %w", what, err)
	}
	a.Own, a.Countersigned = a.words.given, a.words.countersigned
	for _, h := range a.known {
		a.problem("history was cut: %s signed a head over %d entries, here are %d", h.Node().Short(), h.Size,
			a.tree.leaves)
	}
	if len(a.Problems) > 0 {
		return a.Report, core.Fail(core.CodeWrong, "verify %s: %s", what, a.Problems[0])
	}
	return a.Report, nil
}

// audit is one Verify under way: entries and heads are read side by side.
type audit struct {
	Report
	newest mark
	keys   core.PublicKey // as in a Reader
	known  []SignedHead   // not compared yet, smallest first
	tree   edge
	words  *words

	hashesDiffer bool
}

func (a *audit) run(r *Reader) error {
	if err := r.checkMagic(); err != nil {
		a.problem("%v", err)
		return nil
	}
	heads := r.marks()
	hashes := bufio.NewReader(io.NewSectionReader(r.hashes, 0,
		tlog.StoredHashCount(a.newest.Size)*tlog.HashSize))
	s := newScanner(r.entries, 0, int64(len(magic)), a.newest.bytes)
	if err := a.compareHeads(heads, s.at); err != nil {
		return err
	}
	for s.next < a.newest.Size {
		e, err := s.scan()
		if err == io.EOF || errors.Is(err, errTorn) {
			a.problem("entry %d is cut or damaged, and a head was signed over %d entries", s.next, a.newest.Size)
			break
		}
		if err != nil {
			return err
		}
		if err := a.entry(e, hashes); err != nil {
			return err
		}
		if err := a.compareHeads(heads, s.at); err != nil {
			return err
		}
	}
	return nil
}

// entry checks one entry and adds it to the tree; stored are the tree's hashes, where there are any.
func (a *audit) entry(e Entry, stored *bufio.Reader) error {
	hashes, err := a.tree.add(e.leaf())
	if err != nil {
		return err
	}
	for level, h := range hashes {
		if stored == nil {
			break
		}
		var was tlog.Hash
		if _, err := io.ReadFull(stored, was[:]); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		a.compareHash(e.Index, level, h, was)
	}
	if count := a.counts()[e.Kind]; count != nil {
		*count++
	}
	if err := a.words.check(e); err != nil {
		a.problem("entry %d: %s: %v", e.Index, e.Kind, err)
	}
	return nil
}

// compareHash holds a hash of the tree against the one that was stored, zero where there is none any more.
// After the first difference only leaves tell something: all above them differs too.
func (a *audit) compareHash(index int64, level int, h, was tlog.Hash) {
	switch {
	case h == was, was == tlog.Hash{}: // a power loss took it; Open makes it again
		return
	case level == 0:
		a.problem("entry %d is not the one whose hash was stored", index)
	case !a.hashesDiffer:
		a.problem("hashes: level %d is wrong at entry %d", level, index)
	}
	a.hashesDiffer = true
}

// compareHeads holds every head of the tree's present size against it; at is where the entries read so far end.
func (a *audit) compareHeads(heads *marks, at int64) error {
	root, err := a.tree.root()
	if err != nil {
		return err
	}
	for ; heads.has && heads.next.Size <= a.tree.leaves; heads.advance() {
		m := heads.next
		a.compareMark(m, core.Hash(root), at)
	}
	if heads.err != nil {
		a.problem("%v", heads.err)
		heads.err = nil
	}
	a.compareKnown(core.Hash(root))
	return nil
}

// compareKnown holds the known heads of the tree's present size against its root.
func (a *audit) compareKnown(root core.Hash) {
	for len(a.known) > 0 && a.known[0].Size <= a.tree.leaves {
		if err := a.known[0].Check(); err != nil {
			a.problem("known %v", err)
		} else {
			a.compare(a.known[0], root)
		}
		a.known = a.known[1:]
	}
}

// compareMark holds a head of the log against the root of its entries, which end at a byte.
func (a *audit) compareMark(m mark, root core.Hash, at int64) {
	a.Heads++
	a.compare(m.SignedHead, root)
	if m.Size == a.tree.leaves && m.bytes != at {
		a.problem("head over %d entries: they end at byte %d, not %d", m.Size, at, m.bytes)
	}
}

func (a *audit) compare(h SignedHead, root core.Hash) {
	switch {
	case h.Node() != a.Node:
		a.problem("head over %d entries is signed by %s, not by %s", h.Size, h.Node(), a.Node)
	case h.Size < a.tree.leaves:
		a.problem("head over %d entries stands behind one over more", h.Size)
	case h.Root != root:
		a.problem("history was rewritten: the first %d entries are not those that a head was signed over", h.Size)
	}
}

// marks reads the file of heads in order. A bad record at the very end is passed over, as in lastMark.
type marks struct {
	file   io.ReaderAt
	keys   core.PublicKey // as in a Reader
	number int64          // of next
	last   int64          // of the newest good one
	next   mark
	has    bool
	err    error
}

func (r *Reader) marks() *marks {
	_, last, err := lastMark(r.heads, r.keys)
	m := &marks{file: r.heads, keys: r.keys, number: -1, last: last, err: err}
	m.advance()
	return m
}

func (m *marks) advance() {
	if m.number++; m.number > m.last || m.err != nil {
		m.has = false
		return
	}
	m.next, m.err = readMark(m.file, m.number, m.keys)
	m.has = m.err == nil
}
