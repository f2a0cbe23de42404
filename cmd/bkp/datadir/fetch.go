// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
)

// ErrElsewhere is what Fetch returns where a part of the version is on other machines only.
var ErrElsewhere = errors.New("not wholly on this machine")

// ErrNobodyToAsk is what it returns then where nobody can be asked.
var ErrNobodyToAsk = core.Fail(core.CodeRedundant, "a part of it is not on this machine, and no peers are known")

// Fetch brings back a version that is wholly on this machine; alone says that nobody else can be asked. With
// ErrElsewhere, args are what is left to fetch: all, or, where a stream has taken bytes before the first damaged chunk,
// what comes behind them; the result says how many.
func (d Dir) Fetch(ctx context.Context, o *key.Owner, args *control.FetchArgs, alone bool,
	phase func(name string, total core.Size) func(done core.Size)) (r control.FetchResult, err error) {
	began := time.Now()
	v, err := d.Refs().Find(o, args.Name, args.Version)
	if core.CodeOf(err) == core.CodeNoName && !alone {
		return r, ErrElsewhere
	}
	if err != nil {
		return r, err
	}
	local, err := d.OpenChunks(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	if !alone || !args.Partial { // else there is nobody to ask for what is lost here
		if err := local.whole(ctx, v, alone); err != nil {
			return r, err
		}
	}
	size := wanted(*args, v.Body.Size)
	done, err := file.Restore{
		Assembly: file.Assembly{
			Root: v.Body.Root, Secrets: chunk.NewSecrets(o.DedupSecret), Local: local, Start: args.Start, End: args.End,
			Partial: args.Partial, Progress: phase("fetch", size),
		},
		Path: args.Output, Out: args.Out, Force: args.Force, Seed: args.Seed, Mode: v.Body.Mode,
	}.Run(ctx)
	here := []control.Source{{Address: "this machine", Bytes: done.Stored}}
	if core.CodeOf(err) == core.CodeWrong && !alone { // not whole, and others may have what is damaged here
		if args.Out == nil || done.Passed == 0 { // a file finds again what is in place
			return r, ErrElsewhere
		}
		args.End = args.Start + size
		args.Start, args.Version = args.Start+done.Passed, v.Ref.Version
		return control.FetchResult{Bytes: done.Passed, Sources: here}, ErrElsewhere
	}
	if err == nil {
		err = done.Lost(args.Output)
	}
	if err != nil && core.CodeOf(err) != core.CodePartial {
		return r, v.damaged(err)
	}
	return control.FetchResult{
		Name: args.Name, Version: v.Ref.Version, Output: args.Output, Bytes: size, Seconds: time.Since(began).Seconds(),
		Sources: here, Resumed: done.Resumed, Seeded: done.Seeded, Holes: done.Holes,
	}, err
}

// whole is nil where every chunk of the version is here and right, as far as its manifest tells.
func (l *Chunks) whole(ctx context.Context, v Version, alone bool) error {
	whole, err := l.Complete(ctx, v.Body.Root)
	switch {
	case !alone && (err == nil && !whole || core.CodeOf(err) == core.CodeWrong):
		return ErrElsewhere
	case err == nil && !whole:
		return fmt.Errorf("%s: %w", v.Title(), ErrNobodyToAsk)
	}
	return v.damaged(err)
}

// damaged names the version in an error, and the next step where its bytes are wrong and nobody else has them.
func (v Version) damaged(err error) error {
	if err == nil {
		return nil
	}
	if core.CodeOf(err) == core.CodeWrong {
		err = core.WithHint(err, "if the file is still there, bkp split it again: what is damaged is stored anew; "+
			"--partial brings all but the damaged bytes")
	}
	return fmt.Errorf("%s: %w", v.Title(), err)
}

// wanted is how many bytes of a file of that size are asked for.
func wanted(args control.FetchArgs, size core.Size) core.Size {
	if args.End > 0 {
		return args.End - args.Start
	}
	return size
}
