// SPDX-License-Identifier: Apache-2.0

// Package cometbft is the engine whose order a chain of CometBFT keeps. Its validators run the application of package
// order; they may be of parties that do not trust each other, and less than a third of them may be dead, or lie.
//
//	[plugin.engine.cometbft]
//	validators = ["http://10.0.0.1:26657", "http://10.0.0.2:26657", "http://10.0.0.3:26657", "http://10.0.0.4:26657"]
//
// Of n validators f = (n-1)/3 may be wrong. What f+1 of them say alike counts, for one of those is right. An entry is
// appended once n-f of them have it. Who reads asks all, and waits for n-f answers; where one of them claims more entries
// than f+1 know of, the others are given time to catch up, for what was appended at least one of them has.
package cometbft

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cometbft/cometbft/rpc/client/http"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/engines/cometbft/order"
	"github.com/bkp-tool/bkp/plugins/serve"
)

const (
	// patience is with all that one call asks: less than the 10 s that bkp gives it, so that what is wrong is told.
	patience = 8 * time.Second
	askAgain = 100 * time.Millisecond
	catchUp  = time.Second // that validators have who know of fewer entries than another claims
)

// New is the engine. It keeps nothing before it is configured.
func New() core.Engine { return &engine{} }

type engine struct {
	Validators []string `json:"validators" about:"where validators answer, as http://HOST:26657: best all of them"`

	mu      sync.Mutex
	clients []*http.HTTP
}

func (e *engine) Describe(context.Context) (core.EngineInfo, error) {
	return core.EngineInfo{Name: "cometbft", Version: "1.0.0", Summary: "keeps the order on a chain of CometBFT",
		Settings: serve.Settings(&engine{Validators: []string{}})}, nil
}

func (e *engine) Configure(_ context.Context, config []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := json.Unmarshal(config, e); err != nil {
		return err
	}
	e.clients = nil
	for _, at := range e.Validators {
		if !strings.HasPrefix(at, "https://") && !strings.HasPrefix(at, "http://") {
			return fmt.Errorf("validator %q: want http://HOST:26657", at)
		}
		c, err := http.New(at, "/websocket")
		if err != nil {
			return fmt.Errorf("validator %s: %w", at, err)
		}
		e.clients = append(e.clients, c)
	}
	return nil
}

// quorum is the validators, and how many of them may be wrong.
func (e *engine) quorum() (clients []*http.HTTP, wrong int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.clients) == 0 {
		return nil, 0, errors.New("no validators are set")
	}
	return e.clients, (len(e.clients) - 1) / 3, nil
}

// Append has the entry ordered, and waits until n-f validators have carried that out.
func (e *engine) Append(ctx context.Context, scope string, after int64, entry []byte) (core.Appended, error) {
	clients, wrong, err := e.quorum()
	if err != nil {
		return core.Appended{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tx := order.Tx{Scope: scope, After: after, Entry: entry, Nonce: make([]byte, 16)}
	if _, err := rand.Read(tx.Nonce); err != nil {
		return core.Appended{}, err
	}
	raw, err := json.Marshal(tx)
	if err != nil {
		return core.Appended{}, err
	}
	q := order.Question{Scope: scope, After: max(0, after-1), Limit: 2}
	for began, sent := time.Now(), false; ; {
		answers, err := e.ask(ctx, clients, q)
		if err != nil {
			return core.Appended{}, err
		}
		v := views{answers, q.After}
		agreed, there := v.count(wrong+1), v.agreed(after+1, wrong+1)
		switch {
		case there != nil && !bytes.Equal(there.Nonce, tx.Nonce):
			return core.Appended{Entries: max(agreed, after+1)}, nil
		case v.having(after+1, tx.Nonce) >= len(clients)-wrong:
			return core.Appended{OK: true, Entries: after + 1}, nil
		case agreed < after && (v.claimed() < after || time.Since(began) > catchUp):
			return core.Appended{Entries: agreed}, nil
		case agreed == after && !sent:
			sent = e.send(ctx, clients, raw) > 0
		}
		if err := pause(ctx, e.Validators); err != nil {
			return core.Appended{}, err
		}
	}
}

// send hands a transaction to all validators, and is how many took it: one that is right gives it to the others.
func (e *engine) send(ctx context.Context, clients []*http.HTTP, raw []byte) (taken int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	short, cancel := context.WithTimeout(ctx, patience/4)
	defer cancel()
	for _, c := range clients {
		all.Go(func() {
			_, err := c.BroadcastTxSync(short, raw)
			mu.Lock()
			defer mu.Unlock()
			if err == nil || strings.Contains(err.Error(), "already exists") {
				taken++
			}
		})
	}
	all.Wait()
	return taken
}

// Read returns what f+1 validators say alike.
func (e *engine) Read(ctx context.Context, scope string, after int64, limit int) ([][]byte, error) {
	clients, wrong, err := e.quorum()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	q := order.Question{Scope: scope, After: after, Limit: limit}
	for began := time.Now(); ; {
		answers, err := e.ask(ctx, clients, q)
		if err != nil {
			return nil, err
		}
		v := views{answers, after}
		if v.claimed() > v.count(wrong+1) && time.Since(began) < catchUp {
			if err := pause(ctx, e.Validators); err != nil {
				return nil, err
			}
			continue
		}
		var entries [][]byte
		for size := 0; len(entries) < limit; {
			s := v.agreed(after+int64(len(entries))+1, wrong+1)
			if s == nil {
				break
			}
			if size += len(s.Entry); size > contract.MaxEntries && len(entries) > 0 {
				break
			}
			entries = append(entries, s.Entry)
		}
		return entries, nil
	}
}

// ask asks all validators, and returns once n-f have answered and the others have had a moment.
func (e *engine) ask(ctx context.Context, clients []*http.HTTP, q order.Question) ([]order.Answer, error) {
	const moment = 50 * time.Millisecond
	data, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	type result struct {
		order.Answer
		err error
	}
	results := make(chan result, len(clients))
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, c := range clients {
		go func() {
			var r result
			found, err := c.ABCIQuery(asking, order.Path, data)
			if r.err = err; err == nil {
				r.err = json.Unmarshal(found.Response.Value, &r.Answer)
			}
			results <- r
		}()
	}
	var answers []order.Answer
	var wrong []string
	var late <-chan time.Time
	least := len(clients) - (len(clients)-1)/3
	for heard := 0; heard < len(clients); heard++ {
		select {
		case r := <-results:
			if r.err != nil {
				wrong = append(wrong, r.err.Error())
			} else if answers = append(answers, r.Answer); len(answers) == least {
				late = time.After(moment)
			}
		case <-late:
			return answers, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("of the %d validators %d answered within %s, and %d have to", len(clients), len(answers), patience, least)
		}
	}
	if len(answers) < least {
		return nil, fmt.Errorf("of the %d validators %d answer, and %d have to: %s", len(clients), len(answers), least, strings.Join(wrong, "; "))
	}
	return answers, nil
}

func pause(ctx context.Context, validators []string) error {
	select {
	case <-time.After(askAgain):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the chain of %s has not ordered it within %s", strings.Join(validators, ", "), patience)
	}
}

// views is what validators say of a scope behind the first after entries.
type views struct {
	answers []order.Answer
	after   int64
}

// count is how many entries there are by so many of them at least.
func (v views) count(least int) (entries int64) {
	for _, a := range v.answers {
		by := 0
		for _, b := range v.answers {
			if b.Entries >= a.Entries {
				by++
			}
		}
		if by >= least {
			entries = max(entries, a.Entries)
		}
	}
	return entries
}

// claimed is how many entries there are by the one who says most.
func (v views) claimed() (entries int64) {
	for _, a := range v.answers {
		entries = max(entries, a.Entries)
	}
	return entries
}

// at is an entry as one of them has it; nil: it has none.
func (v views) at(a order.Answer, number int64) *order.Stored {
	if i := number - v.after - 1; i >= 0 && i < int64(len(a.Stored)) {
		return &a.Stored[i]
	}
	return nil
}

// agreed is the entry that so many of them have alike; nil: there is none.
func (v views) agreed(number int64, least int) *order.Stored {
	for _, a := range v.answers {
		s := v.at(a, number)
		if s == nil {
			continue
		}
		by := 0
		for _, b := range v.answers {
			if o := v.at(b, number); o != nil && bytes.Equal(o.Nonce, s.Nonce) && bytes.Equal(o.Entry, s.Entry) {
				by++
			}
		}
		if by >= least {
			return s
		}
	}
	return nil
}

// having is how many have the entry with a nonce at a place.
func (v views) having(number int64, nonce []byte) (n int) {
	for _, a := range v.answers {
		if s := v.at(a, number); s != nil && bytes.Equal(s.Nonce, nonce) {
			n++
		}
	}
	return n
}
