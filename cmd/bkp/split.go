package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/urfave/cli/v2"
)

func splitCommand() *cli.Command {
	return command(spec{
		name: "split", args: "FILE|-", most: 1,
		usage: "cut a file into sealed chunks, as a new version of its name",
		about: "Only chunks are stored that are not here yet, and that peers do not keep already by receipts for 30 days more. " +
			"Nothing leaves this machine before bkp place. A directory is piped: " +
			"tar -c DIR | bkp split - --name DIR.tar. What a program writes is best split with --command: " +
			"where that fails no version is made.",
		examples: `bkp split big.iso
			bkp split /dev/shm/dump.sql --name nightly.sql
			tar -c photos | bkp split - --name photos.tar
			bkp split --command 'pg_dump shop' --name shop.sql
			bkp split disk.img --compression best --digest sha256`,
		flags: append([]cli.Flag{
			textFlag("name", "", "call the file `NAME` (default: the base name of FILE)"),
			textFlag("chunker", chunk.MethodAuto, "cut by `HOW`: cdc (by content), fixed (for images of disks) or auto: as the version before, else as the first sectors ask for"),
			textFlag("compression", string(chunk.LevelDefault), "compress at `LEVEL`: off, fast, default or best"),
			textFlag("digest", "", "put a digest of the whole file into its manifest: `HASH` is sha256 or blake3"),
			boolFlag("no-recheck", "do not open again what was just sealed"),
			boolFlag("whole", "store also what peers keep already"),
			boolFlag("dry-run", "show what the new version would add, and store nothing"),
			boolFlag("all", "with --dry-run: list every range that is new"),
		}, append(inputFlags(), identityFlags()...)...),
		do: doSplit,
	})
}

// splitSummary is what a split came to.
type splitSummary struct {
	Name      string    `json:"name"`
	Version   int       `json:"version"`
	Bytes     core.Size `json:"bytes"`
	Chunks    int       `json:"chunks"`
	NewChunks int       `json:"new_chunks"`
	Stored    core.Size `json:"stored_bytes"` // of the new chunks and tree nodes
	Root      core.Hash `json:"root"`
	Seconds   float64   `json:"seconds"`
	Unchanged bool      `json:"unchanged,omitempty"` // Version is that from before
}

func doSplit(ctx context.Context, c *call) error {
	name, err := c.splitName()
	if err != nil {
		return err
	}
	level, err := chunk.ParseLevel(c.String("compression"))
	if err != nil {
		return usageError("--compression: %w", err)
	}
	if d := c.String("digest"); d != "" && !slices.Contains(file.Digests, d) {
		return usageError("--digest %q: want sha256 or blake3", d)
	}
	from, err := c.openInput(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	in, err := from.source()
	if err != nil {
		return err
	}
	defer in.Close()
	if c.Bool("dry-run") {
		return c.drySplit(ctx, name, in, level)
	}
	o, err := c.owner()
	if err != nil {
		return err
	}
	skip, err := c.skipUnchanged()
	if err != nil {
		return err
	}
	sum := splitSummary{Name: name}
	if before, ok := c.house.newest(o, name); ok && skip == skipByStat && c.house.refs().isAsSplit(before, in) {
		sum.isStill(before)
	} else if sum, err = c.split(ctx, o, name, level, in, skip != ""); err != nil {
		return err
	}
	return c.told(render.Versioned(sum.Name, sum.Version), c.Result(sum, func(t *render.Table) {
		if sum.Unchanged {
			t.Line("%s is unchanged: there is no new version.", render.Versioned(sum.Name, sum.Version))
			return
		}
		t.Line("Split %s: %s in %s, %d of them new (%s stored), in %s.", render.Versioned(sum.Name, sum.Version), sum.Bytes,
			render.Counted(sum.Chunks, "chunk"), sum.NewChunks, sum.Stored, render.Seconds(sum.Seconds))
	}))
}

// isStill says that there is no new version, since the newest is the same.
func (s *splitSummary) isStill(v versionRef) {
	s.Version, s.Bytes, s.Root, s.Unchanged = v.ref.Version, v.body.Size, v.body.Root.Hash, true
}

// split makes a version; none, with skip, of what the newest consists of already.
func (c *call) split(
	ctx context.Context, o *key.Owner, name string, level chunk.Level, in *file.Source, skip bool,
) (sum splitSummary, err error) {
	params, err := c.house.splitParams(ctx, o, name, c.String("chunker"), in)
	if err != nil {
		return sum, err
	}
	c.house.reserve().fill()
	staging, err := disk.Open(c.house.path("staging"))
	if err != nil {
		return sum, fmt.Errorf("open staging: %w", err)
	}
	// Until the version is there, gc must see that somebody leans on what it is made of.
	defer func() {
		if closeErr := staging.Close(); err != nil {
			err = errors.Join(err, closeErr)
		} else if closeErr != nil {
			c.Say("warning: close staging: %v", closeErr) // the version is there, and all of it durable
		}
	}()
	var away *awayChunks
	if !c.Bool("whole") {
		if away, err = c.house.openAway(ctx, o); err != nil {
			return sum, err
		}
	}
	defer away.Close()
	began := time.Now()
	saved := c.house.savedSplit(o, name)
	r, err := file.Split(ctx, file.SplitInput{
		Source: in, Params: params, Level: level, Secrets: chunk.NewSecrets(o.DedupSecret), Store: splitStore{staging, away},
		Digest: c.String("digest"), Recheck: !c.Bool("no-recheck"), Empty: c.Bool("allow-empty"),
		Progress: c.Phase("split", max(in.Size, 0)), Resume: saved.load(), Every: checkpointEvery, Checkpoint: saved.save,
	})
	if err != nil {
		return sum, err
	}
	sum = splitSummary{
		Name: name, Bytes: r.Bytes, Chunks: r.Chunks, NewChunks: r.NewChunks, Stored: r.StoredBytes, Root: r.Root.Hash,
	}
	body := key.RefBody{Name: name, Root: r.Root, Size: r.Bytes, Mode: in.Mode()}
	if before, ok := c.house.newest(o, name); ok && skip && before.isOf(body) {
		sum.isStill(before)
		err = c.house.keepSource(o, body, in)
	} else {
		sum.Version, err = c.house.commit(o, params, body, in)
	}
	if err == nil {
		saved.remove()
	}
	sum.Seconds = time.Since(began).Seconds()
	return sum, err
}

// drySummary is what a split would come to.
type drySummary struct {
	splitSummary
	NewBytes core.Size `json:"new_bytes"` // of the file, in new chunks
	Ranges   int       `json:"ranges"`    // that they stand in
	DryRun   bool      `json:"dry_run"`
}

// drySplit cuts and seals as split does, and keeps nothing of it.
func (c *call) drySplit(ctx context.Context, name string, in *file.Source, level chunk.Level) error {
	o, err := c.ownerIfAny()
	if err == nil && o == nil {
		o, err = key.NewOwner(rand.Reader) // everything is new to it
	}
	if err != nil {
		return err
	}
	params, err := c.house.splitParams(ctx, o, name, c.String("chunker"), in)
	if err != nil {
		return err
	}
	dry, err := c.house.dryStore()
	if err != nil {
		return err
	}
	defer dry.Close()
	if dry.away, err = c.house.readAway(ctx, o); err != nil {
		return err
	}
	var news added
	began := time.Now()
	r, err := file.Split(ctx, file.SplitInput{
		Source: in, Params: params, Level: level, Secrets: chunk.NewSecrets(o.DedupSecret), Store: dry,
		Empty: c.Bool("allow-empty"), Progress: c.Phase("look", max(in.Size, 0)),
		Chunk: func(p file.Piece) error {
			if p.IsNew {
				news.add(p.Offset, p.Plain, p.Size)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	version := 1
	if before, err := c.house.refs().find(o, name, 0); err == nil {
		version = before.ref.Version + 1
	}
	sum := drySummary{splitSummary{
		Name: name, Version: version, Bytes: r.Bytes, Chunks: r.Chunks, NewChunks: r.NewChunks, Stored: r.StoredBytes, Root: r.Root.Hash,
		Seconds: time.Since(began).Seconds(),
	}, news.Bytes, len(news.Ranges), true}
	return render.List(c.Console, news.Ranges, sum, func(t *render.Table) {
		render.Ranges(t, news.Ranges, c.Bool("all"))
		t.Line("Would split %s: %s in %s, %d of them new in %s of %s (%s stored).", render.Versioned(name, version), r.Bytes,
			render.Counted(r.Chunks, "chunk"), r.NewChunks, render.Counted(len(news.Ranges), "range"), news.Bytes, r.StoredBytes)
	})
}

// maxName is how many bytes a name may have. A path of Linux is as long at most.
const maxName = 4096

// splitName is --name, else the base name of FILE.
func (c *call) splitName() (string, error) {
	name := c.String("name")
	if name == "" && c.given("name") {
		return "", usageError("--name is empty")
	}
	if name == "" {
		switch c.Args().First() {
		case "-":
			return "", core.WithHint(usageError("standard input has no name"),
				"give it one: bkp %s - --name NAME", c.Command.Name)
		case "":
			if c.String("command") == "" {
				return "", errNoInput(c)
			}
			return "", core.WithHint(usageError("what a command writes has no name"), "give it one: --name NAME")
		}
		name = filepath.Base(c.Args().First())
	}
	if !utf8.ValidString(name) {
		return "", usageError("the name %q is not UTF-8", name)
	}
	if len(name) > maxName {
		return "", usageError("the name has %d bytes, it may have %d", len(name), maxName)
	}
	if plain, _, err := nameVersion(name); err != nil || plain != name {
		return "", core.WithHint(usageError("a name cannot end in @ and a number or @latest, since %q means a version of %q", name, plain),
			"give another: bkp split FILE --name NAME")
	}
	return name, nil
}

// splitParams says where to cut: as --chunker asks, else as the version before was cut, else as what is in the file
// asks.
func (h house) splitParams(ctx context.Context, o *key.Owner, name, method string, in *file.Source) (chunk.Params, error) {
	switch method {
	case chunk.MethodCDC, chunk.MethodFixed:
		return chunk.DefaultParams(method, in.Size), nil
	case chunk.MethodAuto, "":
	default:
		return chunk.Params{}, usageError("--chunker %q: want auto, cdc or fixed", method)
	}
	before, err := h.cutBefore(ctx, o, name)
	if err != nil || before.Method != "" {
		return before, err
	}
	if in.IsDevice() {
		return chunk.DefaultParams(chunk.MethodFixed, in.Size), nil
	}
	first, err := in.Head(ctx, chunk.GuessSize)
	return chunk.DefaultParams(chunk.Guess(first), in.Size), err
}

// cutBefore says how the version before was cut, or nothing where that is not known here.
func (h house) cutBefore(ctx context.Context, o *key.Owner, name string) (p chunk.Params, err error) {
	before, err := h.refs().find(o, name, 0)
	switch core.CodeOf(err) {
	case core.CodeOK:
	case core.CodeNoName:
		return p, nil
	case core.CodeWrong:
		return h.refs().keptCut(o.Alias(name)), nil
	default:
		return p, err
	}
	local, err := h.localChunks(ctx)
	if err != nil {
		return p, err
	}
	defer local.Close()
	info, err := manifest.Stat(before.body.Root, local)
	if errors.Is(err, core.ErrNotFound) || core.CodeOf(err) == core.CodeWrong {
		return h.refs().keptCut(o.Alias(name)), nil // placed and collected since, or damaged
	}
	p = chunk.Params{Method: info.Method, Min: info.Min, Avg: info.Avg, Max: info.Max}
	return p, errors.Join(err, p.Check())
}

// commit makes the next version of a name visible, and keeps how it was cut and of what; its chunks must be durable.
// After an error there is none.
func (h house) commit(o *key.Owner, cut chunk.Params, body key.RefBody, in *file.Source) (version int, err error) {
	if err := h.refs().keepCut(o.Alias(body.Name), cut); err != nil {
		return 0, err
	}
	if err := h.keepSource(o, body, in); err != nil {
		return 0, err
	}
	return h.refs().Append(o.Alias(body.Name), func(version int, previous []byte) ([]byte, error) {
		return o.SealRef(key.Ref{Version: version, Prev: contentOf(o, previous), Created: time.Now().Unix()}, body)
	})
}

// contentOf is what the next version's ref says of the one before it; zero where that is damaged, or there is none.
func contentOf(o *key.Owner, envelope []byte) core.Hash {
	r, err := key.OpenRef(envelope)
	if err != nil || r.V > 1 {
		return r.Content
	}
	body, _ := o.OpenRefBody(r)
	return body.Root.Hash
}
