// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/proto"
)

// Engine is a running engine. Its calls may be made from many goroutines.
type Engine struct {
	*process
	info  core.EngineInfo
	calls proto.EngineClient
}

var (
	_ core.Engine     = (*Engine)(nil)
	_ core.Configurer = (*Engine)(nil)
)

// Engine starts the engine of that name. The caller closes it.
func (h *Host) Engine(ctx context.Context, name string) (*Engine, error) {
	p, err := h.open(ctx, KindEngine, name)
	if err != nil {
		return nil, err
	}
	return newEngine(ctx, p)
}

// newEngine asks a process that has just been started what it is, and ends it where that is not what it should be.
func newEngine(ctx context.Context, p *process) (*Engine, error) {
	e := &Engine{process: p, calls: p.door.(proto.EngineClient)}
	err := p.call(ctx, "ask what it is", func(ctx context.Context) error {
		answer, err := e.calls.Describe(ctx, &proto.EngineDescribeRequest{})
		e.info = core.EngineInfo{Name: answer.GetName(), Version: answer.GetVersion(), Summary: answer.GetSummary(),
			Settings: contract.SettingsFromProto(answer.GetSettings())}
		return err
	})
	if err == nil {
		err = p.introduced(e.info.Name, &e.info.Version, &e.info.Summary)
	}
	if err == nil {
		err = p.configured(ctx, e.info.Settings, e)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return e, nil
}

// Describe is what the engine said at its start.
func (e *Engine) Describe(context.Context) (core.EngineInfo, error) { return e.info, nil }

// Configure hands the engine its configuration.
func (e *Engine) Configure(ctx context.Context, config []byte) error {
	return e.call(ctx, "configure it", func(ctx context.Context) error {
		_, err := e.calls.Configure(ctx, &proto.EngineConfigureRequest{Config: config})
		return err
	})
}

// badAnswer is what people are told to do about an engine whose answer cannot be.
const badAnswer = "this is a fault of the plugin: tell its author"

// Append asks it to append an entry; an answer that cannot be is an error.
func (e *Engine) Append(ctx context.Context, scope string, after int64, entry []byte) (appended core.Appended, err error) {
	doing := "append to " + scope
	if err := contract.CheckAppend(scope, after, entry); err != nil {
		return appended, fmt.Errorf("%s: %w", doing, err)
	}
	err = e.call(ctx, doing, func(ctx context.Context) error {
		answer, err := e.calls.Append(ctx, &proto.AppendRequest{Scope: scope, After: after, Entry: entry})
		appended = core.Appended{OK: answer.GetOk(), Entries: answer.GetEntries()}
		return err
	})
	if err != nil {
		return core.Appended{}, err
	}
	if err := contract.CheckAppended(after, appended); err != nil {
		return core.Appended{}, e.fail(doing, fmt.Errorf("bad answer: %w", err), badAnswer)
	}
	return appended, nil
}

// Read asks it for entries; an answer that cannot be is an error.
func (e *Engine) Read(ctx context.Context, scope string, after int64, limit int) (entries [][]byte, err error) {
	doing := "read " + scope
	if err := contract.CheckRead(scope, after, limit); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	err = e.call(ctx, doing, func(ctx context.Context) error {
		answer, err := e.calls.Read(ctx, &proto.ReadRequest{Scope: scope, After: after, Limit: int64(limit)})
		entries = answer.GetEntry()
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := contract.CheckEntries(limit, entries); err != nil {
		return nil, e.fail(doing, fmt.Errorf("bad answer: %w", err), badAnswer)
	}
	return entries, nil
}

// KeptEngine is an engine that is started again when its process ends or hangs, configured as before.
type KeptEngine struct {
	*supervised[*Engine]
	info core.EngineInfo
}

var _ core.Engine = (*KeptEngine)(nil)

// KeepEngine starts the engine of that name and keeps it running until Close. watch is told when it is gone and when it
// is back.
func (h *Host) KeepEngine(ctx context.Context, name string, watch Watch) (*KeptEngine, error) {
	first, err := h.Engine(ctx, name)
	if err != nil {
		return nil, err
	}
	return &KeptEngine{info: first.info, supervised: supervise(first, func(ctx context.Context) (*Engine, error) {
		p, err := first.again(ctx)
		if err != nil {
			return nil, err
		}
		return newEngine(ctx, p)
	}, watch)}, nil
}

// Describe is what the engine said at its first start.
func (k *KeptEngine) Describe(context.Context) (core.EngineInfo, error) { return k.info, nil }

// Append appends an entry. A process that is lost over it may have appended it, and then the next one says that there
// is one entry more.
func (k *KeptEngine) Append(ctx context.Context, scope string, after int64, entry []byte) (a core.Appended, err error) {
	err = k.call(ctx, func(e *Engine) (err error) {
		a, err = e.Append(ctx, scope, after, entry)
		return err
	})
	return a, err
}

// Read returns entries.
func (k *KeptEngine) Read(ctx context.Context, scope string, after int64, limit int) (entries [][]byte, err error) {
	err = k.call(ctx, func(e *Engine) (err error) {
		entries, err = e.Read(ctx, scope, after, limit)
		return err
	})
	return entries, err
}
