// SPDX-License-Identifier: Apache-2.0

package version

import (
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/fxamacker/cbor/v2"
)

// Record is the sealed word of one segment: its runs with their chunks, who keeps which, and the licence.
type Record struct {
	Task    core.TaskID
	Number  int
	Source  core.ID
	Runs    []Run       // new runs, then reused
	Spans   []core.Span // From is not kept
	License []byte
	Stripes []core.Stripe // of Runs; none where all runs are kept as copies
}

// Run is one run of a record.
type Run struct {
	core.Run
	Task core.TaskID // the task that brought it
	Used core.Bitmap // the chunks of it that the version uses
	Held core.Bitmap // those that holders keep for it: nil for Used, all where the run is in a stripe
}

// Kept is the chunks of it that its holders keep.
func (r Run) Kept() core.Bitmap {
	if r.Held != nil {
		return r.Held
	}
	return r.Used
}

// Whole reports whether its holders keep all of it.
func (r Run) Whole() bool { return r.Kept().Count(len(r.Chunks)) == len(r.Chunks) }

// The record as it is sealed: CBOR arrays in this field order, sizes in bytes. A chunk list is its hashes and its sizes
// side by side, since a segment has up to 65,536 chunks and maps would double it. Version 2 is that of a segment with
// stripes; all others stay of version 1. In it a run is parity where a stripe says so.
type (
	sealedRecord struct {
		_       struct{} `cbor:",toarray"`
		V       int
		Task    []byte
		Number  int
		Source  []byte
		Runs    []sealedRun
		Spans   []sealedSpan
		License []byte
	}
	stripedRecord struct {
		_       struct{} `cbor:",toarray"`
		V       int
		Task    []byte
		Number  int
		Source  []byte
		Runs    []sealedRun
		Spans   []sealedSpan
		License []byte
		Stripes []sealedStripe
		Held    [][]byte // by run; empty where it is as Used
	}
	sealedStripe struct {
		_      struct{} `cbor:",toarray"`
		Data   []int
		Parity []int
	}
	sealedRun struct {
		_         struct{} `cbor:",toarray"`
		Name      string
		Directory bool
		Order     int
		Hash      []byte
		Task      []byte
		Used      []byte
		Hashes    []byte
		Sizes     []core.Size
	}
	sealedSpan struct {
		_      struct{} `cbor:",toarray"`
		Node   []byte
		Start  int
		Length int
	}
)

var (
	recordEncoder = must(cbor.CoreDetEncOptions().EncMode())
	recordDecoder = must(cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, MaxArrayElements: 1 << 20,
		MaxNestedLevels: 8, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic("version: cbor options: " + err.Error()) // constants
	}
	return v
}

// Encode is the plain bytes of the record.
func (r Record) Encode() ([]byte, error) {
	s := sealedRecord{V: 1, Task: r.Task[:], Number: r.Number, Source: r.Source[:], License: r.License}
	for _, run := range r.Runs {
		sealed := sealedRun{
			Name: run.Name, Directory: run.Type == core.TypeDirectory, Order: run.Order, Hash: run.Hash[:],
			Task: run.Task[:], Used: run.Used,
		}
		for _, c := range run.Chunks {
			sealed.Hashes, sealed.Sizes = append(sealed.Hashes, c.Hash[:]...), append(sealed.Sizes, c.Size)
		}
		s.Runs = append(s.Runs, sealed)
	}
	for _, span := range r.Spans {
		s.Spans = append(s.Spans, sealedSpan{Node: span.Node[:], Start: span.Start, Length: span.Length})
	}
	if len(r.Stripes) == 0 {
		return recordEncoder.Marshal(s)
	}
	striped := stripedRecord{V: 2, Task: s.Task, Number: s.Number, Source: s.Source, Runs: s.Runs, Spans: s.Spans,
		License: s.License}
	for _, x := range r.Stripes {
		striped.Stripes = append(striped.Stripes, sealedStripe{Data: x.Data, Parity: x.Parity})
	}
	for _, run := range r.Runs {
		striped.Held = append(striped.Held, run.Held)
	}
	return recordEncoder.Marshal(striped)
}

// headOfStriped is how a stripedRecord begins: the head of a CBOR array of nine.
const headOfStriped = 0x89

// decode reads a record of either version.
func decode(plain []byte) (striped stripedRecord, err error) {
	if len(plain) > 0 && plain[0] == headOfStriped {
		if err = recordDecoder.Unmarshal(plain, &striped); err == nil && striped.V != 2 {
			err = fmt.Errorf("version %d", striped.V)
		}
		return striped, err
	}
	var s sealedRecord
	if err = recordDecoder.Unmarshal(plain, &s); err == nil && s.V != 1 {
		err = fmt.Errorf("version %d", s.V)
	}
	return stripedRecord{V: s.V, Task: s.Task, Number: s.Number, Source: s.Source, Runs: s.Runs, Spans: s.Spans,
		License: s.License, Held: make([][]byte, len(s.Runs))}, err
}

// Decode reads what Encode wrote; anything else is core.CodeWrong.
func Decode(plain []byte) (Record, error) {
	s, err := decode(plain)
	if err != nil {
		return Record{}, core.Fail(core.CodeWrong, "segment record: %w", err)
	}
	if len(s.Task) != 16 || len(s.Source) != 32 || s.Number < 0 || len(s.Held) != len(s.Runs) {
		return Record{}, core.Fail(core.CodeWrong, "segment record: a malformed head")
	}
	r := Record{Task: core.TaskID(s.Task), Number: s.Number, Source: core.ID(s.Source), License: s.License}
	for i, sealed := range s.Runs {
		run, err := sealed.open(s.Held[i])
		if err != nil {
			return Record{}, core.Fail(core.CodeWrong, "segment record: run %d: %w", i, err)
		}
		r.Runs = append(r.Runs, run)
	}
	for i, span := range s.Spans {
		if len(span.Node) != 32 || span.Start < 0 || span.Length < 1 || span.Length > len(r.Runs) ||
			span.Start > len(r.Runs)-span.Length {
			return Record{}, core.Fail(core.CodeWrong, "segment record: span %d lies outside its runs", i)
		}
		r.Spans = append(r.Spans, core.Span{Node: core.ID(span.Node), Start: span.Start, Length: span.Length})
	}
	if err := r.stripe(s.Stripes); err != nil {
		return Record{}, core.Fail(core.CodeWrong, "segment record: %w", err)
	}
	return r, nil
}

// stripe takes in the stripes of the runs.
func (r *Record) stripe(stripes []sealedStripe) error {
	in := make([]bool, len(r.Runs))
	for i, s := range stripes {
		x := core.Stripe{Data: s.Data, Parity: s.Parity}
		if len(x.Data) == 0 || len(x.Parity) == 0 || len(x.Data)+len(x.Parity) > core.MaxShards {
			return fmt.Errorf("stripe %d has %d runs and %d of parity", i, len(x.Data), len(x.Parity))
		}
		for at, run := range x.Runs() {
			if run < 0 || run >= len(in) || in[run] || r.Runs[run].Type != core.TypeFile || !r.Runs[run].Whole() ||
				at >= len(x.Data) && len(r.Runs[run].Chunks) != 1 {
				return fmt.Errorf("stripe %d: run %d cannot be in it", i, run)
			}
			in[run] = true
		}
		for _, run := range x.Parity {
			r.Runs[run].Type = core.TypeParity
		}
		r.Stripes = append(r.Stripes, x)
	}
	return nil
}

func (s sealedRun) open(held []byte) (Run, error) {
	if len(s.Hash) != 32 || len(s.Task) != 16 || len(s.Hashes) != 32*len(s.Sizes) || len(s.Sizes) == 0 ||
		len(s.Used) != (len(s.Sizes)+7)/8 || len(held) > 0 && len(held) != len(s.Used) {
		return Run{}, fmt.Errorf("lengths do not fit")
	}
	run := Run{Task: core.TaskID(s.Task), Used: s.Used}
	if len(held) > 0 {
		run.Held = held
	}
	run.File = core.File{Name: s.Name, Type: core.TypeFile, Order: s.Order, Hash: core.Hash(s.Hash)}
	if s.Directory {
		run.Type = core.TypeDirectory
	}
	for i, size := range s.Sizes {
		if size <= 0 || size > chunk.MaxStored {
			return Run{}, fmt.Errorf("chunk %d has %d bytes", i, size)
		}
		run.Chunks = append(run.Chunks, core.Chunk{Hash: core.Hash(s.Hashes[32*i:]), Size: size})
		run.Size += size
	}
	if chunk.RunHash(run.Chunks) != run.Hash {
		return Run{}, fmt.Errorf("its chunks do not match its hash")
	}
	return run, nil
}

// Located is the record with who keeps its runs by a coordinator's word beside those that it names itself.
func (r Record) Located(spans []core.Span) Record {
	r.Spans = slices.Clone(r.Spans)
	for _, s := range spans {
		var news []int
		for run := s.Start; run < min(s.Start+s.Length, len(r.Runs)); run++ {
			if !slices.Contains(r.Holders(run), s.Node) {
				news = append(news, run)
			}
		}
		for _, at := range core.Ranges(news) {
			r.Spans = append(r.Spans, core.Span{Node: s.Node, Start: at.Start, Length: at.Length})
		}
	}
	return r
}

// Holders lists who keeps a run of the record.
func (r Record) Holders(run int) (nodes []core.ID) {
	for _, span := range r.Spans {
		if span.Has(run) {
			nodes = append(nodes, span.Node)
		}
	}
	return nodes
}

// Fewest is how many holders the run has that has the fewest; −1 where there is no run.
func (r Record) Fewest() int {
	fewest := -1
	for run := range r.Runs {
		if n := len(r.Holders(run)); fewest < 0 || n < fewest {
			fewest = n
		}
	}
	return fewest
}

// Copies is how many of the nodes that there is true for may be lost before a run is, and one: of a run that is kept as
// copies its holders, of one in a stripe as many as the stripe's runs bear, and one.
func (r Record) Copies(there func(core.ID) bool) (copies []int) {
	copies = make([]int, len(r.Runs))
	for _, span := range r.Spans {
		for run := span.Start; run < span.Start+span.Length && there(span.Node); run++ {
			copies[run]++
		}
	}
	core.Endure(copies, r.Stripes)
	return copies
}

// Seal seals the record; stored is its sealed bytes.
func (r Record) Seal(sealer *chunk.Sealer) (s core.Sealed, stored []byte, err error) {
	plain, err := r.Encode()
	if err != nil {
		return s, nil, fmt.Errorf("encode record: %w", err)
	}
	if len(plain) > chunk.MaxPlain {
		return s, nil, core.Fail(core.CodeFailed,
			"the record of segment %d has %s, more than a sealed chunk holds", r.Number, core.Size(len(plain)))
	}
	_, k := sealer.Identify(core.KindNode, plain)
	stored, err = sealer.Seal(nil, core.KindNode, k, plain)
	if err != nil {
		return s, nil, fmt.Errorf("seal record: %w", err)
	}
	return core.Sealed{Hash: chunk.Hash(stored), Size: core.Size(len(stored)), Key: k, Plain: core.Size(len(plain))},
		stored, nil
}

// OpenRecord opens a record's sealed bytes.
func OpenRecord(opener *chunk.Opener, s core.Sealed, stored []byte) (Record, error) {
	plain, err := opener.OpenSealed(nil, core.KindNode, s, stored)
	if err != nil {
		return Record{}, err
	}
	return Decode(plain)
}
