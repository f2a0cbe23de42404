// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/manifest"
)

// memoryStore is a store in memory.
type memoryStore struct {
	mu     sync.Mutex
	chunks map[core.Hash][]byte
	ids    map[core.Hash]core.Chunk
}

func memory() *memoryStore {
	return &memoryStore{chunks: map[core.Hash][]byte{}, ids: map[core.Hash]core.Chunk{}}
}

func (m *memoryStore) Find(_ context.Context, id core.Hash) (core.Chunk, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.ids[id]
	return c, ok, nil
}

func (m *memoryStore) Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, known := m.chunks[c.Hash]
	m.chunks[c.Hash] = append([]byte(nil), data...)
	m.ids[id] = c
	return !known, nil
}

func (m *memoryStore) Barrier(context.Context) error { return nil }

func (m *memoryStore) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.chunks[hash]
	if !ok {
		return nil, core.ErrNotFound
	}
	return append(dst, data...), nil
}

func (m *memoryStore) Has(_ context.Context, hash core.Hash) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.chunks[hash]
	return ok, nil
}

// hooked fails, or does something on the side, when a test says so.
type hooked struct {
	*memoryStore
	onPut, onBarrier func() error
}

func (h *hooked) Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (bool, error) {
	if h.onPut != nil {
		if err := h.onPut(); err != nil {
			return false, err
		}
	}
	return h.memoryStore.Put(ctx, c, id, data)
}

func (h *hooked) Barrier(context.Context) error {
	if h.onBarrier != nil {
		return h.onBarrier()
	}
	return nil
}

// forgetting takes everything and keeps nothing.
type forgetting struct{}

func (forgetting) Find(context.Context, core.Hash) (c core.Chunk, found bool, err error) {
	return c, false, nil
}
func (forgetting) Put(context.Context, core.Chunk, core.Hash, []byte) (bool, error) { return true, nil }
func (forgetting) Barrier(context.Context) error                                    { return nil }
func (forgetting) Has(context.Context, core.Hash) (bool, error)                     { return false, nil }
func (forgetting) Get(context.Context, core.Hash, []byte) ([]byte, error) {
	return nil, core.ErrNotFound
}

// flipping answers with one bit flipped.
type flipping struct{ from file.Chunks }

func (f flipping) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	data, err := f.from.Get(ctx, hash, dst)
	if err == nil {
		data[len(data)-1] ^= 1
	}
	return data, err
}

// restore puts a file together from one store.
func restore(root core.Sealed, s file.Chunks, path string) file.Restore {
	return file.Restore{Assembly: file.Assembly{Root: root, Secrets: testSecrets, Local: s}, Path: path}
}

// nodeOpener opens tree nodes out of a store.
type nodeOpener struct{ from file.Chunks }

func openerOf(s file.Chunks) manifest.Opener { return nodeOpener{s} }

func (n nodeOpener) OpenNode(s core.Sealed) ([]byte, error) {
	stored, err := n.from.Get(context.Background(), s.Hash, nil)
	if err != nil {
		return nil, err
	}
	return chunk.NewOpener().OpenSealed(nil, core.KindNode, s, stored)
}

func makeFIFO(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip("no FIFO on this system:", err)
	}
}

// goRoot is where the Go tree stands.
func goRoot() string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// entries lists a manifest's chunks in order.
func entries(t failer, s file.Chunks, root core.Sealed) (list []manifest.Entry) {
	err := manifest.Walk(root, openerOf(s), func(e manifest.Entry) error { list = append(list, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// failer is a test of testing, or of rapid.
type failer interface{ Fatal(...any) }

func check(t failer, err error) {
	if err != nil {
		t.Fatal(err)
	}
}
