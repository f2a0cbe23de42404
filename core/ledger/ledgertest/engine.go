// SPDX-License-Identifier: Apache-2.0

// Package ledgertest has an engine in memory that fails when it is told to.
package ledgertest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
)

// Engine is an engine in memory. The zero value is empty.
type Engine struct {
	mu     sync.Mutex
	scopes map[string][][]byte
	down   error
	lost   error
}

// Down has every call fail; nil: none does any more.
func (e *Engine) Down(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = err
}

// LoseAnswer has the next Append append, and its answer be lost.
func (e *Engine) LoseAnswer(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost = err
}

// Cut leaves a scope so many entries.
func (e *Engine) Cut(scope string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.scopes[scope] = e.scopes[scope][:n]
}

// Scopes are those that have entries.
func (e *Engine) Scopes() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.scopes))
}

// Describe says what it is.
func (e *Engine) Describe(context.Context) (core.EngineInfo, error) {
	return core.EngineInfo{Name: "memory", Version: "1", Summary: "keeps an order in memory"}, nil
}

// Append appends an entry.
func (e *Engine) Append(_ context.Context, scope string, after int64, entry []byte) (core.Appended, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	has := int64(len(e.scopes[scope]))
	if e.down != nil || has != after {
		return core.Appended{Entries: has}, e.down
	}
	if e.scopes == nil {
		e.scopes = map[string][][]byte{}
	}
	e.scopes[scope] = append(e.scopes[scope], bytes.Clone(entry))
	lost := e.lost
	e.lost = nil
	return core.Appended{OK: true, Entries: has + 1}, lost
}

// Read returns entries.
func (e *Engine) Read(_ context.Context, scope string, after int64, limit int) ([][]byte, error) {
	const most = 1 << 20 // bytes, of the contract
	e.mu.Lock()
	defer e.mu.Unlock()
	entries := e.scopes[scope]
	entries = entries[min(after, int64(len(entries))):]
	n, size := 0, 0
	for n < min(limit, len(entries)) && (n == 0 || size+len(entries[n]) <= most) {
		size += len(entries[n])
		n++
	}
	return slices.Clone(entries[:n]), e.down
}
