// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/shipment"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/version"
)

// stagedChunks is a staging of some chunks.
type stagedChunks struct {
	storage.Collector // nil: nothing else is asked
	chunks            map[core.Hash][]byte
}

func (s stagedChunks) Has(_ context.Context, hash core.Hash) (bool, error) {
	return s.chunks[hash] != nil, nil
}

func (s stagedChunks) Get(_ context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	return append(dst, s.chunks[hash]...), nil
}

// TestPowerLossExport: a run that has its name is whole, since whoever exports once more takes it for that; and all that
// was told to be on the disk is.
func TestPowerLossExport(t *testing.T) {
	root := durabletest.Dir(t)
	signer, to := key.SignerFromSeed([32]byte{1}), key.SignerFromSeed([32]byte{2}).ID()
	staged := stagedChunks{chunks: map[core.Hash][]byte{}}
	var runs []version.Run
	var numbers []int
	name := shipment.Name{Node: to, Task: core.TaskID{3}}
	for i := range 6 { // a batch, and some more
		data := bytes.Repeat([]byte{byte(i + 1)}, 300)
		r := version.Run{Task: name.Task, Used: core.FullBitmap(1)}
		r.Chunks = []core.Chunk{{Hash: chunk.Hash(data), Size: 300}}
		r.File = core.File{Name: fmt.Sprint(i), Type: core.TypeFile, Order: i, Hash: chunk.RunHash(r.Chunks), Size: 300}
		staged.chunks[r.Chunks[0].Hash] = data
		runs, numbers = append(runs, r), append(numbers, i)
	}
	s := placements.NewSegment(name.Task, "a", 1, 0, runs)
	s.Message.Locations = []core.Span{{Node: to, From: signer.ID(), Length: len(runs)}}
	e := &export{Node: &Node{Owned: Owned{Staging: staged}, Node: &node.Node{Config: node.Config{Signer: signer}}},
		folder: root, status: func(control.Status) {}, most: 4}
	r := durabletest.Record(t, root)
	if err := e.write(t.Context(), []placements.Shipment{{Segment: s, Node: to, Runs: numbers}}); err != nil {
		t.Fatal(err)
	}
	r.Promise("exported")
	r.Check(t, 400, func(roots []string, promises []any) (err error) {
		dir := filepath.Join(roots[0], name.String())
		for i, run := range runs {
			got, readErr := os.ReadFile(filepath.Join(dir, "0", shipment.RunFile(i)))
			whole := bytes.Equal(got, staged.chunks[run.Chunks[0].Hash])
			if !whole && (len(promises) > 0 || core.Size(len(got)) == run.Size) {
				err = errors.Join(err, fmt.Errorf("run %d has %d bytes: %w", i, len(got), readErr))
			}
		}
		if _, readErr := os.ReadFile(filepath.Join(dir, shipment.ListFile(0))); len(promises) > 0 {
			err = errors.Join(err, readErr)
		}
		return err
	})
}
