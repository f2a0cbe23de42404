// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/place/content"
	"github.com/bkp-tool/bkp/core/version"
)

// Windows places a file while it is cut: each window of it as a task of its own. Covered is safe for many goroutines,
// the rest is for one at a time.
type Windows struct {
	c       *Coordinator
	args    Args
	tell    func(Status)
	covered map[core.Hash]bool
	claims  []core.Chunk // on what is in staging, until the backup has ended
	sent    core.Size
}

// Window is a part of a file that was placed as a task of its own.
type Window struct {
	Task    core.TaskID
	Records []core.Sealed
}

// Windows begins a file, and finds what earlier versions have at enough connected peers.
func (c *Coordinator) Windows(ctx context.Context, args Args, tell func(Status)) (*Windows, error) {
	w := &Windows{c: c, args: args, covered: map[core.Hash]bool{}, tell: func(s Status) {
		if s.Warning {
			tell(s)
		}
	}}
	p, err := w.placement(ctx)
	if err != nil {
		return nil, err
	}
	_, scores, err := p.prices(ctx)
	if err != nil {
		return nil, err
	}
	if w.args.Replicas = p.Args.Replicas; w.args.Erasure.IsZero() && p.Handed == nil {
		w.args.Replicas = max(w.args.Replicas, scores.Redundancy.Replicas)
	} // what has fewer copies has to be sent again
	p.Versions.At(ctx, p.owner.Alias(args.Name), 0) // what was removed by another machine is learned
	covered, err := p.coverage()
	w.count(covered)
	return w, err
}

// Release ends the claims on what was put into staging.
func (w *Windows) Release() { w.c.Pins.Release(w.claims) }

// Covered reports whether enough connected peers keep a chunk already.
func (w *Windows) Covered(hash core.Hash) bool { return w.covered[hash] }

// Sent is the payload of the windows' copies.
func (w *Windows) Sent() core.Size { return w.sent }

// Keep puts a chunk into staging and guards it against collection until the backup has ended.
func (w *Windows) Keep(c core.Chunk, id core.Hash, data []byte) error {
	w.claims = append(w.claims, c)
	return w.c.keep(w.c.Life, c, id, data)
}

// placement is one of a window, surveyed.
func (w *Windows) placement(ctx context.Context) (*placement, error) {
	p, err := w.c.placement(ctx, "backup", w.args, w.tell)
	if err != nil {
		return nil, err
	}
	p.window = true
	p.erase(w.args.Erasure)
	if err := p.toHandOver(); err != nil { // each goes to the coordinator alone, and the whole version is handed over
		return nil, err
	}
	p.awaitStopped(ctx)
	p.Peers.Await(ctx)
	return p, p.look(ctx)
}

// Taken takes over the records of windows that an interrupted backup placed: Covered knows what they cover from then
// on.
func (w *Windows) Taken(ctx context.Context, records []core.Sealed) error {
	claims := make([]core.Chunk, len(records))
	for i, r := range records {
		claims[i] = core.Chunk{Hash: r.Hash, Size: r.Size}
	}
	there, err := w.c.Pins.If(ctx, claims, w.c.Staging.Has)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("records of the interrupted backup are gone")
	}
	w.claims = append(w.claims, claims...)
	p, err := w.placement(ctx)
	if err != nil {
		return err
	}
	covered := content.Covered{}
	for _, sealed := range records {
		r, err := p.reader.Record(sealed)
		if err != nil {
			return err
		}
		covered.Add(r, p.Survey.Index)
	}
	w.count(covered)
	return nil
}

func (w *Windows) count(covered content.Covered) {
	for hash, at := range covered {
		if at.Run.Copies() >= w.args.Replicas && at.Run.Type != core.TypeDirectory { // those stay here
			w.covered[hash] = true
		}
	}
}

// Place gives chunks of a version to be, whose bytes from has, to peers, and returns the records of it once every copy
// has its receipt. One that does not reach every copy is withdrawn: its bytes are at hand still.
func (w *Windows) Place(ctx context.Context, number int, from version.Chunks, chunks []core.Chunk) (Window, error) {
	p, err := w.placement(ctx)
	if err != nil {
		return Window{}, err
	}
	p.from = from
	alias := p.owner.Alias(w.args.Name)
	p.Version = version.Found{Ref: key.Ref{Alias: alias, Version: number}, Body: key.RefBody{Name: w.args.Name}}
	prefix := fmt.Sprintf("%s.%d", alias, number)
	p.Content = content.New(prefix, chunks)
	defer func() { w.c.Pins.Release(p.recalled) }()
	if err := p.encode(ctx, prefix); err != nil {
		return Window{}, err
	}
	if err := p.carry(ctx); err != nil {
		return Window{}, err
	}
	w.sent += p.Standing.Sent()
	sealed, _, claims, err := p.records(ctx)
	w.claims = append(w.claims, claims...)
	if err != nil {
		return Window{}, err
	}
	return Window{Task: p.Task, Records: sealed}, p.Ledger.Sync() // who makes the records visible puts a barrier before
}

// carry plans, licenses and sends a window.
func (p *placement) carry(ctx context.Context) error {
	if err := p.price(ctx); err != nil {
		return err
	}
	offers, err := p.decide(ctx)
	if err != nil {
		return err
	}
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer p.leave()
	err = p.settle(ctx, offers)
	if err == nil {
		err = p.deliver(ctx)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		p.withdraw(p.Life)
		return err
	}
	if err := p.noteLeft(); err != nil {
		return err
	}
	p.dismiss(ctx)
	return nil
}
