package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/version"
)

// Cutting is what the node gives to who cuts the file of a backup.
type Cutting struct {
	control.BackupArgs
	Owner   *key.Owner
	Staging storage.Store
	Away    Away // may be nil
	// Covered reports whether enough connected peers keep a chunk already. Safe for many goroutines.
	Covered func(core.Hash) bool
	// Keep puts a chunk into staging and guards it against collection until the backup has ended.
	Keep func(c core.Chunk, id core.Hash, data []byte) error
	// Place gives chunks of a version to be, whose bytes from has, to peers, and returns the records of it once every
	// copy has its receipt. One call at a time.
	Place func(ctx context.Context, version int, from Chunks, chunks []core.Chunk) (Window, error)
	// Taken takes over the records of windows that an interrupted backup placed: Covered knows what they cover from
	// then on.
	Taken    func(ctx context.Context, records []core.Sealed) error
	Progress func(done, total core.Size)
}

// Window is a part of a file that was placed as a task of its own.
type Window struct {
	Task    core.TaskID
	Records []core.Sealed
}

// windowLife is how long the licence of a window holds, and with it a task whose ref has not come yet: longer than any
// backup takes.
const windowLife = 90 * 24 * time.Hour

// Backup cuts a file window by window, places each as a task of its own, and at last the whole version over them: that
// sends the tree nodes alone, since peers keep all else, and lets the tasks of the windows go.
func (n *Node) Backup(ctx context.Context, args control.BackupArgs,
	status func(control.Status)) (control.BackupResult, error) {
	began := time.Now()
	result := control.BackupResult{Name: args.Name}
	owner, err := n.identity("backup")
	if err != nil {
		return result, err
	}
	b := &backup{n: n, args: args, status: status, began: began, covered: map[core.Hash]bool{}}
	defer func() { n.stagedPins.Release(b.claims) }()
	release, err := n.Staging.Hold(ctx) // what the cutting finds there no ref may name before the end
	if err != nil {
		return result, fmt.Errorf("backup %s: %w", args.Name, err)
	}
	defer release()
	if err := b.cover(ctx); err != nil {
		return result, fmt.Errorf("backup %s: %w", args.Name, err)
	}
	result.Cut, err = n.Cut(ctx, Cutting{
		BackupArgs: args, Owner: owner, Staging: n.Staging, Away: n.Away,
		Covered: func(h core.Hash) bool { return b.covered[h] },
		Keep:    b.keep, Place: b.place, Taken: b.taken, Progress: b.progress,
	})
	if err != nil {
		return result, fmt.Errorf("backup %s: %w", args.Name, err)
	}
	if result.Unchanged {
		result.Seconds = time.Since(began).Seconds()
		return result, nil
	}
	whole, err := n.Place(ctx, control.PlaceArgs{
		Name: args.Name, Version: result.Version, Replicas: args.Replicas, Strategy: args.Strategy, Retain: args.Retain,
	}, status)
	result.Replicas, result.Placements, result.Warnings = whole.Replicas, whole.Placements, whole.Warnings
	result.SentBytes, result.Seconds = b.sent+whole.SentBytes, time.Since(began).Seconds()
	return result, err
}

// backup is one under way. covered is complete before the cutting begins; the rest belongs to who calls place.
type backup struct {
	n       *Node
	args    control.BackupArgs
	status  func(control.Status)
	began   time.Time
	covered map[core.Hash]bool
	claims  []core.Chunk
	sent    core.Size
}

func (b *backup) progress(done, total core.Size) {
	b.status(control.Status{Phase: "backup", Done: done, Total: total, Seconds: time.Since(b.began).Seconds()})
}

func (b *backup) placing(ctx context.Context) (*placing, error) {
	pl := &placing{n: b.n, reader: b.n.reader(ctx), changed: make(chan struct{}, 1), life: windowLife, status: func(s control.Status) {
		if s.Warning {
			b.status(s)
		}
	}}
	pl.args = control.PlaceArgs{Name: b.args.Name, Replicas: b.args.Replicas, Strategy: b.args.Strategy,
		Retain: b.args.Retain}
	if _, err := rand.Read(pl.task[:]); err != nil {
		return nil, fmt.Errorf("draw task: %w", err)
	}
	return pl, nil
}

// cover finds what earlier versions have at enough connected peers.
func (b *backup) cover(ctx context.Context) error {
	pl, err := b.placing(ctx)
	if err != nil {
		return err
	}
	b.n.awaitPeers(ctx)
	if err := pl.survey(ctx); err != nil {
		return err
	}
	_, scores, err := pl.prices(ctx)
	if err != nil {
		return err
	}
	b.args.Replicas = max(b.args.Replicas, scores.Redundancy.Replicas) // what has fewer copies has to be sent again
	chunks, err := pl.coverage()
	b.count(chunks)
	return err
}

func (b *backup) keep(c core.Chunk, id core.Hash, data []byte) error {
	b.claims = append(b.claims, c)
	return b.n.stagedPins.While(c, func() error { _, err := b.n.Staging.Put(b.n.ctx, c, id, data); return err })
}

// taken guards the records of an interrupted backup and counts what they cover.
func (b *backup) taken(ctx context.Context, records []core.Sealed) error {
	claims := make([]core.Chunk, len(records))
	for i, r := range records {
		claims[i] = core.Chunk{Hash: r.Hash, Size: r.Size}
	}
	there, err := b.n.stagedPins.If(ctx, claims, b.n.Staging.Has)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("records of the interrupted backup are gone")
	}
	b.claims = append(b.claims, claims...)
	pl, err := b.placing(ctx)
	if err != nil {
		return err
	}
	if err := pl.survey(ctx); err != nil {
		return err
	}
	chunks := map[core.Hash]coveredChunk{}
	for _, sealed := range records {
		r, err := pl.reader.Record(sealed)
		if err != nil {
			return err
		}
		pl.cover(chunks, r)
	}
	b.count(chunks)
	return nil
}

func (b *backup) count(chunks map[core.Hash]coveredChunk) {
	for hash, at := range chunks {
		if len(at.run.holders) >= b.args.Replicas {
			b.covered[hash] = true
		}
	}
}

// place carries one window to its peers.
func (b *backup) place(ctx context.Context, number int, from Chunks, chunks []core.Chunk) (Window, error) {
	pl, err := b.placing(ctx)
	if err != nil {
		return Window{}, err
	}
	alias := b.n.owner().Alias(b.args.Name)
	pl.from = from
	pl.version = version.Found{Ref: key.Ref{Alias: alias, Version: number}, Body: key.RefBody{Name: b.args.Name}}
	b.n.awaitPeers(ctx)
	if err := pl.survey(ctx); err != nil {
		return Window{}, err
	}
	pl.group(chunks)
	if err := pl.carry(ctx); err != nil {
		return Window{}, err
	}
	b.sent += pl.result.SentBytes
	return b.note(ctx, pl)
}

// group makes runs of chunks that nobody keeps yet.
func (pl *placing) group(chunks []core.Chunk) {
	for _, c := range chunks {
		pl.result.NewBytes += c.Size
	}
	g := grouper{prefix: fmt.Sprintf("%s.%d", pl.version.Ref.Alias, pl.version.Ref.Version),
		limit: core.RunSize(pl.result.NewBytes)}
	for _, c := range chunks {
		g.add(core.TypeFile, c)
	}
	g.close()
	pl.fresh, pl.result.Bytes = g.runs, pl.result.NewBytes
	pl.classify(nil)
}

// carry plans, licenses and sends a window. One that does not reach every copy is withdrawn: its bytes are at hand
// still.
func (pl *placing) carry(ctx context.Context) error {
	n := pl.n
	if err := pl.decide(ctx); err != nil {
		return err
	}
	pl.describe()
	pl.cut()
	if err := pl.licenseAll(); err != nil {
		return err
	}
	if err := pl.enter(); err != nil {
		return err
	}
	defer n.ask(func() { pl.leave() })
	err := pl.offer(ctx)
	if err == nil {
		n.ask(pl.send)
		err = pl.await(ctx)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		pl.withdraw(n.ctx)
		return err
	}
	pl.measured()
	pl.dismiss(ctx)
	return nil
}

// note seals the records of a window; they are guarded until the backup has ended.
func (b *backup) note(ctx context.Context, pl *placing) (Window, error) {
	n := pl.n
	w := Window{Task: pl.task}
	for _, s := range pl.segments {
		r := version.Record{Task: pl.task, Number: s.number, Source: n.ID(), Runs: s.runs, License: s.message.License}
		n.ask(func() { r.Spans = s.keptSpans() })
		sealed, _, err := n.sealRecord(ctx, r)
		b.claims = append(b.claims, core.Chunk{Hash: sealed.Hash, Size: sealed.Size})
		if err != nil {
			return w, err
		}
		w.Records = append(w.Records, sealed)
	}
	return w, n.Ledger.Sync() // who makes the records visible puts a barrier before that
}
