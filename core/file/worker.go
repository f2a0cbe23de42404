// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

// worker seals for one goroutine and keeps its memory from chunk to chunk.
type worker struct {
	store  Store
	sealer *chunk.Sealer
	opener *chunk.Opener // nil: nothing is opened again
	stored []byte
	plain  []byte
}

func newWorker(in SplitInput) (*worker, error) {
	sealer, err := chunk.NewSealer(in.Secrets, in.Level)
	if err != nil {
		return nil, err
	}
	w := &worker{store: in.Store, sealer: sealer}
	if in.Recheck {
		w.opener = chunk.NewOpener()
	}
	return w, nil
}

// seal makes sure that the store has the sealed form of plain.
func (w *worker) seal(ctx context.Context, kind core.Kind, plain []byte) (s core.Sealed, isNew bool, err error) {
	id, k := w.sealer.Identify(kind, plain)
	s = core.Sealed{Key: k, Plain: core.Size(len(plain))}
	known, found, err := w.store.Find(ctx, id)
	if err != nil {
		return s, false, err
	}
	if found {
		s.Hash, s.Size = known.Hash, known.Size
		return s, false, nil
	}
	if w.stored, err = w.sealer.Seal(w.stored[:0], kind, k, plain); err != nil {
		return s, false, err
	}
	s.Hash, s.Size = chunk.Hash(w.stored), core.Size(len(w.stored))
	if w.opener != nil {
		if w.plain, err = w.opener.OpenSealed(w.plain[:0], kind, s, w.stored); err != nil ||
			!bytes.Equal(w.plain, plain) {
			return s, false, core.WithHint(core.Fail(core.CodeWrong,
				"a chunk that was just sealed does not open to what it was made of"),
				"this machine computes wrongly: test its memory")
		}
	}
	isNew, err = w.store.Put(ctx, core.Chunk{Hash: s.Hash, Size: s.Size}, id, w.stored)
	return s, isNew, err
}

// nodeSealer seals the manifest's tree nodes into the store.
type nodeSealer struct {
	ctx    context.Context // of the split
	worker *worker
	nodes  int
	stored core.Size // of new nodes
}

func newNodeSealer(ctx context.Context, in SplitInput) (*nodeSealer, error) {
	w, err := newWorker(in)
	return &nodeSealer{ctx: ctx, worker: w}, err
}

// SealNode makes it a manifest.Sealer.
func (n *nodeSealer) SealNode(plain []byte) (core.Sealed, error) {
	s, isNew, err := n.worker.seal(n.ctx, core.KindNode, plain)
	n.nodes++
	if isNew {
		n.stored += s.Size
	}
	return s, err
}
