package node

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/version"
)

// maxRunChunks bounds a run of tiny chunks, and segmentChunks a segment of such runs, so that announcements and records
// keep to their limits.
const (
	maxRunChunks  = 4096
	segmentChunks = 1 << 18
)

// grouper cuts a stream of chunks into runs, each chunk taken once.
type grouper struct {
	prefix string // ALIAS.V
	limit  core.Size
	order  int // of the next run
	open   []core.Chunk
	size   core.Size
	kind   core.FileType
	runs   []core.Run
}

// add appends a chunk; the run before it is closed where it would grow past the limit or is of another type.
func (g *grouper) add(kind core.FileType, c core.Chunk) {
	if len(g.open) > 0 && (g.size+c.Size > g.limit || kind != g.kind || len(g.open) == maxRunChunks) {
		g.close()
	}
	g.kind = kind
	g.open = append(g.open, c)
	g.size += c.Size
}

func (g *grouper) close() {
	if len(g.open) == 0 {
		return
	}
	g.runs = append(g.runs, core.Run{
		File: core.File{
			Name: fmt.Sprintf("%s.%d", g.prefix, g.order), Type: g.kind, Order: g.order,
			Hash: chunk.RunHash(g.open), Size: g.size,
		},
		Chunks: g.open,
	})
	g.order++
	g.open, g.size = nil, 0
}

// here is the chunks on this machine: staged, or kept for others.
func (n *Node) here() storage.Either { return storage.Either{First: n.Staging, Second: n.Keeping} }

// reader reads tree nodes and records that are on this machine.
func (n *Node) reader(ctx context.Context) *version.Reader { return version.NewReader(ctx, n.here()) }

// sealRecord seals a record and keeps it in staging, claimed until the caller releases it from the pins.
func (n *Node) sealRecord(ctx context.Context, r version.Record) (core.Sealed, []byte, error) {
	sealer, err := chunk.NewSealer(chunk.NewSecrets(n.owner().DedupSecret), chunk.LevelDefault)
	if err != nil {
		return core.Sealed{}, nil, err
	}
	s, stored, err := r.Seal(sealer)
	if err != nil {
		return s, nil, err
	}
	c := core.Chunk{Hash: s.Hash, Size: s.Size}
	err = n.stagedPins.While(c, func() error { _, err := n.Staging.Put(ctx, c, core.Hash{}, stored); return err })
	return s, stored, err
}
