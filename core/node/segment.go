package node

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/fxamacker/cbor/v2"
)

// maxRunChunks bounds a run of tiny chunks, and segmentChunks a segment of such runs, so that announcements and records
// keep to their limits.
const (
	maxRunChunks  = 4096
	segmentChunks = 1 << 18
)

// grouper cuts a stream of chunks into runs, each chunk taken once.
type grouper struct {
	prefix string // ALIAS.V
	limit  core.Size
	order  int // of the next run
	open   []core.Chunk
	size   core.Size
	kind   core.FileType
	runs   []core.Run
}

// add appends a chunk; the run before it is closed where it would grow past the limit or is of another type.
func (g *grouper) add(kind core.FileType, c core.Chunk) {
	if len(g.open) > 0 && (g.size+c.Size > g.limit || kind != g.kind || len(g.open) == maxRunChunks) {
		g.close()
	}
	g.kind = kind
	g.open = append(g.open, c)
	g.size += c.Size
}

func (g *grouper) close() {
	if len(g.open) == 0 {
		return
	}
	g.runs = append(g.runs, core.Run{
		File: core.File{
			Name: fmt.Sprintf("%s.%d", g.prefix, g.order), Type: g.kind, Order: g.order,
			Hash: chunk.RunHash(g.open), Size: g.size,
		},
		Chunks: g.open,
	})
	g.order++
	g.open, g.size = nil, 0
}

// record is the sealed word of one segment: its runs with their chunks, who keeps which, and the licence.
type record struct {
	Task    core.TaskID
	Number  int
	Source  core.ID
	Runs    []recordedRun // new runs, then reused
	Spans   []core.Span   // From is not kept
	License []byte
}

// recordedRun is one run of a record.
type recordedRun struct {
	core.Run
	Task core.TaskID // the task that brought it
	Used core.Bitmap // the chunks of it that the version uses
}

// The record as it is sealed: CBOR arrays in this field order, sizes in bytes. A chunk list is its hashes and its sizes
// side by side, since a segment has up to 65,536 chunks and maps would double it.
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
		panic("node: cbor options: " + err.Error()) // constants
	}
	return v
}

// encode is the plain bytes of the record.
func (r record) encode() ([]byte, error) {
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
	return recordEncoder.Marshal(s)
}

// decodeRecord reads what encode wrote; anything else is core.CodeWrong.
func decodeRecord(plain []byte) (record, error) {
	var s sealedRecord
	if err := recordDecoder.Unmarshal(plain, &s); err != nil {
		return record{}, core.Fail(core.CodeWrong, "segment record: %w", err)
	}
	if s.V != 1 || len(s.Task) != 16 || len(s.Source) != 32 || s.Number < 0 {
		return record{}, core.Fail(core.CodeWrong, "segment record: version %d or a malformed head", s.V)
	}
	r := record{Task: core.TaskID(s.Task), Number: s.Number, Source: core.ID(s.Source), License: s.License}
	for i, sealed := range s.Runs {
		run, err := sealed.open()
		if err != nil {
			return record{}, core.Fail(core.CodeWrong, "segment record: run %d: %w", i, err)
		}
		r.Runs = append(r.Runs, run)
	}
	for i, span := range s.Spans {
		if len(span.Node) != 32 || span.Start < 0 || span.Length < 1 || span.Length > len(r.Runs) ||
			span.Start > len(r.Runs)-span.Length {
			return record{}, core.Fail(core.CodeWrong, "segment record: span %d lies outside its runs", i)
		}
		r.Spans = append(r.Spans, core.Span{Node: core.ID(span.Node), Start: span.Start, Length: span.Length})
	}
	return r, nil
}

func (s sealedRun) open() (recordedRun, error) {
	if len(s.Hash) != 32 || len(s.Task) != 16 || len(s.Hashes) != 32*len(s.Sizes) || len(s.Sizes) == 0 ||
		len(s.Used) != (len(s.Sizes)+7)/8 {
		return recordedRun{}, fmt.Errorf("lengths do not fit")
	}
	run := recordedRun{Task: core.TaskID(s.Task), Used: s.Used}
	run.File = core.File{Name: s.Name, Type: core.TypeFile, Order: s.Order, Hash: core.Hash(s.Hash)}
	if s.Directory {
		run.Type = core.TypeDirectory
	}
	for i, size := range s.Sizes {
		if size <= 0 || size > chunk.MaxStored {
			return recordedRun{}, fmt.Errorf("chunk %d has %d bytes", i, size)
		}
		run.Chunks = append(run.Chunks, core.Chunk{Hash: core.Hash(s.Hashes[32*i:]), Size: size})
		run.Size += size
	}
	if chunk.RunHash(run.Chunks) != run.Hash {
		return recordedRun{}, fmt.Errorf("its chunks do not match its hash")
	}
	return run, nil
}

// holders lists who keeps a run of the record.
func (r record) holders(run int) (nodes []core.ID) {
	for _, span := range r.Spans {
		if span.Has(run) {
			nodes = append(nodes, span.Node)
		}
	}
	return nodes
}

// vault seals and opens what only the owner may read: tree nodes and segment records. One goroutine at a time.
type vault struct {
	ctx    context.Context // of the work that it is for
	n      *Node
	sealer *chunk.Sealer
	opener *chunk.Opener
	nodes  map[core.Hash][]byte // tree nodes brought by a fetch, stored form
}

func (n *Node) vault(ctx context.Context) (*vault, error) {
	sealer, err := chunk.NewSealer(chunk.NewSecrets(n.owner().DedupSecret), chunk.LevelDefault)
	if err != nil {
		return nil, err
	}
	return &vault{n: n, ctx: ctx, sealer: sealer, opener: chunk.NewOpener()}, nil
}

// stored finds sealed bytes on this machine, verified.
func (v *vault) stored(hash core.Hash) ([]byte, error) {
	if data, ok := v.nodes[hash]; ok {
		return data, nil
	}
	return v.n.here().Get(v.ctx, hash, nil)
}

// here is the chunks on this machine: staged, or kept for others.
func (n *Node) here() storage.Either { return storage.Either{First: n.Staging, Second: n.Keeping} }

// Get makes the vault Chunks.
func (v *vault) Get(_ context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	data, err := v.stored(hash)
	return append(dst, data...), err
}

// OpenNode opens a tree node; it makes the vault a manifest.Opener.
func (v *vault) OpenNode(s core.Sealed) ([]byte, error) {
	data, err := v.stored(s.Hash)
	if err != nil {
		return nil, fmt.Errorf("tree node %s: %w", s.Hash, err)
	}
	return v.opener.OpenSealed(nil, core.KindNode, s, data)
}

// sealRecord seals a record and keeps it in staging, claimed until the caller releases it from the pins.
func (v *vault) sealRecord(r record) (core.Sealed, []byte, error) {
	plain, err := r.encode()
	if err != nil {
		return core.Sealed{}, nil, fmt.Errorf("encode record: %w", err)
	}
	if len(plain) > chunk.MaxPlain {
		return core.Sealed{}, nil, core.Fail(core.CodeFailed,
			"the record of segment %d has %s, more than a sealed chunk holds", r.Number, core.Size(len(plain)))
	}
	_, k := v.sealer.Identify(core.KindNode, plain)
	stored, err := v.sealer.Seal(nil, core.KindNode, k, plain)
	if err != nil {
		return core.Sealed{}, nil, fmt.Errorf("seal record: %w", err)
	}
	s := core.Sealed{Hash: chunk.Hash(stored), Size: core.Size(len(stored)), Key: k, Plain: core.Size(len(plain))}
	c := core.Chunk{Hash: s.Hash, Size: s.Size}
	err = v.n.stagedPins.While(c, func() error { _, err := v.n.Staging.Put(v.ctx, c, core.Hash{}, stored); return err })
	return s, stored, err
}

// openRecord opens a record's stored bytes.
func (v *vault) openRecord(s core.Sealed, stored []byte) (record, error) {
	return openRecordWith(v.opener, s, stored)
}

func openRecordWith(opener *chunk.Opener, s core.Sealed, stored []byte) (record, error) {
	plain, err := opener.OpenSealed(nil, core.KindNode, s, stored)
	if err != nil {
		return record{}, err
	}
	return decodeRecord(plain)
}
