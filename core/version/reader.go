// SPDX-License-Identifier: Apache-2.0

package version

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
)

// Chunks gives the stored bytes of chunks, as a storage.Store does.
type Chunks interface {
	Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error)
}

// Reader reads what only the owner may: tree nodes and segment records. Get is safe for many goroutines while nothing
// is added; the rest is for one at a time.
type Reader struct {
	ctx    context.Context // of the work that it is for
	chunks Chunks
	opener *chunk.Opener
	added  map[core.Hash][]byte
}

// NewReader makes a Reader of what chunks has.
func NewReader(ctx context.Context, chunks Chunks) *Reader {
	return &Reader{ctx: ctx, chunks: chunks, opener: chunk.NewOpener(), added: map[core.Hash][]byte{}}
}

// Within is the Reader for work that goes on in another context.
func (r *Reader) Within(ctx context.Context) *Reader {
	other := *r
	other.ctx = ctx
	return &other
}

// Add gives it stored bytes, held against their hash, that its chunks do not have.
func (r *Reader) Add(hash core.Hash, stored []byte) { r.added[hash] = stored }

// Get appends stored bytes to dst; it makes the Reader Chunks.
func (r *Reader) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	if data, ok := r.added[hash]; ok {
		return append(dst, data...), nil
	}
	return r.chunks.Get(ctx, hash, dst)
}

// Stored is the stored bytes of a tree node or a record, held against their hash; the caller only reads them.
func (r *Reader) Stored(hash core.Hash) ([]byte, error) {
	if data, ok := r.added[hash]; ok {
		return data, nil
	}
	return r.chunks.Get(r.ctx, hash, nil)
}

// OpenNode opens a tree node; it makes the Reader a manifest.Opener.
func (r *Reader) OpenNode(s core.Sealed) ([]byte, error) {
	data, err := r.Stored(s.Hash)
	if err != nil {
		return nil, fmt.Errorf("tree node %s: %w", s.Hash, err)
	}
	return r.opener.OpenSealed(nil, core.KindNode, s, data)
}

// Record opens a segment record.
func (r *Reader) Record(sealed core.Sealed) (Record, error) {
	stored, err := r.Stored(sealed.Hash)
	if err != nil {
		return Record{}, fmt.Errorf("segment record %s: %w", sealed.Hash, err)
	}
	return r.OpenRecord(sealed, stored)
}

// OpenRecord opens a segment record's stored bytes.
func (r *Reader) OpenRecord(sealed core.Sealed, stored []byte) (Record, error) {
	return OpenRecord(r.opener, sealed, stored)
}

// Tasks is the tasks that a ref stands for: its own, and those of windows as far as their records can be read.
func (r *Reader) Tasks(body key.RefBody) (tasks []core.TaskID) {
	if len(body.Records) > 0 {
		tasks = append(tasks, body.Task)
	}
	for _, sealed := range body.Records {
		if rec, err := r.Record(sealed); err == nil && !slices.Contains(tasks, rec.Task) {
			tasks = append(tasks, rec.Task)
		}
	}
	return tasks
}
