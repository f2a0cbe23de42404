// SPDX-License-Identifier: Apache-2.0

// Package order is the application of a chain of CometBFT whose validators keep one order for nodes of bkp.
//
// A transaction ([Tx]) asks for an entry to be appended to a scope that has just so many. Consensus gives transactions
// their order, and every validator carries them out alike: one that comes behind another to the same place changes
// nothing. A question ([Question]) is answered from what this validator carried out; who asks must not believe a single
// one.
package order

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/bkp-tool/bkp/plugins/contract"
)

// Tx is one transaction.
type Tx struct {
	Scope string `json:"scope"`
	After int64  `json:"after"`
	Entry []byte `json:"entry"`
	Nonce []byte `json:"nonce"` // 16 bytes that who asks draws, to tell its own entry from an equal one
}

// Stored is an entry as it stands.
type Stored struct {
	Nonce []byte `json:"nonce"`
	Entry []byte `json:"entry"`
}

// Question asks for entries of a scope, at Path.
type Question struct {
	Scope string `json:"scope"`
	After int64  `json:"after"`
	Limit int    `json:"limit"`
}

// Answer is how many entries a scope has, and those that were asked for, as far as they come to 1 MiB.
type Answer struct {
	Entries int64    `json:"entries"`
	Stored  []Stored `json:"stored"`
}

const (
	Path      = "/entries"
	nonceSize = 16
)

// What a transaction came to.
const (
	CodeTaken     = 0
	CodeLate      = 1 // the scope has another number of entries
	CodeMalformed = 2
)

// ParseTx reads a transaction that can be carried out.
func ParseTx(raw []byte) (Tx, error) {
	var tx Tx
	if err := json.Unmarshal(raw, &tx); err != nil {
		return tx, err
	}
	if len(tx.Nonce) != nonceSize {
		return tx, fmt.Errorf("nonce of %d bytes", len(tx.Nonce))
	}
	return tx, contract.CheckAppend(tx.Scope, tx.After, tx.Entry)
}

// App is the application of one validator. CometBFT gives it one block at a time; questions come beside that.
type App struct {
	abci.BaseApplication
	db dbm.DB

	mu     sync.Mutex
	state  state
	next   state
	counts map[string]int64 // of scopes, in the block that is being carried out
	batch  dbm.Batch
}

// state is how far the application is, as it stands in the database.
type state struct {
	Height int64  `json:"height"`
	Hash   []byte `json:"hash"` // over all that was appended, in its order
}

var stateKey = []byte("state")

// New opens the application on its database.
func New(db dbm.DB) (*App, error) {
	a := &App{db: db}
	text, err := db.Get(stateKey)
	if err == nil && text != nil {
		err = json.Unmarshal(text, &a.state)
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of the order: %w", err)
	}
	return a, nil
}

// Info says how far it is, so that CometBFT carries out anew what came later.
func (a *App) Info(context.Context, *abci.RequestInfo) (*abci.ResponseInfo, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &abci.ResponseInfo{Data: "bkp-order", Version: "1", AppVersion: 1, LastBlockHeight: a.state.Height,
		LastBlockAppHash: a.state.Hash}, nil
}

// CheckTx keeps out of the mempool what cannot be carried out, or comes too late already.
func (a *App) CheckTx(_ context.Context, req *abci.RequestCheckTx) (*abci.ResponseCheckTx, error) {
	tx, err := ParseTx(req.Tx)
	if err != nil {
		return &abci.ResponseCheckTx{Code: CodeMalformed, Log: err.Error()}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	entries, err := a.count(tx.Scope)
	if err == nil && entries > tx.After {
		return &abci.ResponseCheckTx{Code: CodeLate, Log: fmt.Sprintf("it has %d entries", entries)}, nil
	}
	return &abci.ResponseCheckTx{}, err
}

// FinalizeBlock carries out a block, in memory.
func (a *App) FinalizeBlock(_ context.Context, req *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop()
	a.batch, a.counts, a.next = a.db.NewBatch(), map[string]int64{}, state{Height: req.Height, Hash: a.state.Hash}
	results := make([]*abci.ExecTxResult, len(req.Txs))
	for i, raw := range req.Txs {
		code, log, err := a.carryOut(raw)
		if err != nil {
			return nil, err
		}
		results[i] = &abci.ExecTxResult{Code: code, Log: log}
	}
	return &abci.ResponseFinalizeBlock{TxResults: results, AppHash: a.next.Hash}, nil
}

// carryOut appends what one transaction asks for, where it comes in time.
func (a *App) carryOut(raw []byte) (code uint32, log string, err error) {
	tx, err := ParseTx(raw)
	if err != nil {
		return CodeMalformed, err.Error(), nil
	}
	entries, known := a.counts[tx.Scope]
	if !known {
		if entries, err = a.count(tx.Scope); err != nil {
			return 0, "", err
		}
	}
	if entries != tx.After {
		return CodeLate, fmt.Sprintf("it has %d entries", entries), nil
	}
	stored, err := json.Marshal(Stored{tx.Nonce, tx.Entry})
	if err == nil {
		err = a.batch.Set(entryKey(tx.Scope, entries+1), stored)
	}
	if err == nil {
		err = a.batch.Set(countKey(tx.Scope), binary.BigEndian.AppendUint64(nil, uint64(entries+1)))
	}
	a.counts[tx.Scope] = entries + 1
	sum := sha256.Sum256(raw)
	sum = sha256.Sum256(append(append([]byte{}, a.next.Hash...), sum[:]...))
	a.next.Hash = sum[:]
	return CodeTaken, "", err
}

// Commit makes the block durable.
func (a *App) Commit(context.Context, *abci.RequestCommit) (*abci.ResponseCommit, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.batch == nil {
		return nil, errors.New("no block was carried out")
	}
	text, err := json.Marshal(a.next)
	if err == nil {
		err = a.batch.Set(stateKey, text)
	}
	if err == nil {
		err = a.batch.WriteSync()
	}
	if err != nil {
		return nil, fmt.Errorf("keep block %d: %w", a.next.Height, err)
	}
	a.state = a.next
	a.drop()
	return &abci.ResponseCommit{}, nil
}

func (a *App) drop() {
	if a.batch != nil {
		_ = a.batch.Close()
	}
	a.batch = nil
}

// Query answers a question.
func (a *App) Query(_ context.Context, req *abci.RequestQuery) (*abci.ResponseQuery, error) {
	var q Question
	err := json.Unmarshal(req.Data, &q)
	if err == nil {
		err = contract.CheckRead(q.Scope, q.After, q.Limit)
	}
	if err != nil || req.Path != Path {
		return &abci.ResponseQuery{Code: CodeMalformed, Log: fmt.Sprintf("ask %s: %v", Path, err)}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	answer, err := a.answer(q)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(answer)
	return &abci.ResponseQuery{Value: text, Height: a.state.Height}, err
}

func (a *App) answer(q Question) (answer Answer, err error) {
	if answer.Entries, err = a.count(q.Scope); err != nil {
		return answer, err
	}
	size := 0
	for n := q.After + 1; n <= answer.Entries && len(answer.Stored) < q.Limit; n++ {
		text, err := a.db.Get(entryKey(q.Scope, n))
		if err != nil {
			return answer, err
		}
		var s Stored
		if err := json.Unmarshal(text, &s); err != nil {
			return answer, fmt.Errorf("entry %d of %s: %w", n, q.Scope, err)
		}
		if size += len(s.Entry); size > contract.MaxEntries && len(answer.Stored) > 0 {
			break
		}
		answer.Stored = append(answer.Stored, s)
	}
	return answer, nil
}

// count is how many entries a scope has that were committed. mu is held.
func (a *App) count(scope string) (int64, error) {
	text, err := a.db.Get(countKey(scope))
	if err != nil || len(text) != 8 {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(text)), nil
}

// No scope has a colon, so keys of scopes are apart.
func entryKey(scope string, number int64) []byte {
	return fmt.Appendf(nil, "entry:%s:%016d", scope, number)
}

func countKey(scope string) []byte { return []byte("count:" + scope) }
