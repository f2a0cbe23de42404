// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

// Digests are the names that a split knows for the digest of a whole file.
var Digests = []string{"sha256", "blake3"}

// digester computes the digest of all plain bytes, holes as zeros, beside the pipeline. A nil one does nothing.
type digester struct {
	name   string
	hash   hash.Hash
	head   int         // where the bytes of a block begin
	blocks chan *block // cut → digester; closed at the end
}

// newDigester is nil where no digest is asked for.
func newDigester(in SplitInput) (*digester, error) {
	d := &digester{name: in.Digest, head: in.Params.Max, blocks: make(chan *block, 16)}
	switch in.Digest {
	case "":
		return nil, nil
	case "sha256":
		d.hash = sha256.New()
	case "blake3":
		d.hash = blake3.New()
	default:
		return nil, core.Fail(core.CodeUsage, "unknown digest %q (have %v)", in.Digest, Digests)
	}
	return d, nil
}

// end says that no more blocks come.
func (d *digester) end() {
	if d != nil {
		close(d.blocks)
	}
}

// run takes what came before byte from out of the source, and the rest from the blocks.
func (d *digester) run(ctx context.Context, p *pipeline, from core.Size) error {
	if from > 0 {
		if _, err := io.Copy(d.hash, io.NewSectionReader(p.in.Source.file, 0, int64(from))); err != nil {
			return fmt.Errorf("read again: %w", err)
		}
	}
	zeros := make([]byte, 64<<10)
	for {
		b, err := receive(ctx, d.blocks)
		if b == nil {
			return err
		}
		d.hash.Write(b.buf[d.head : d.head+b.read])
		hole := b.hole
		p.release(b)
		for hole > 0 && ctx.Err() == nil {
			n, _ := d.hash.Write(zeros[:min(hole, core.Size(len(zeros)))])
			hole -= core.Size(n)
		}
	}
}

// sum is the name and value for the manifest.
func (d *digester) sum() (string, []byte) {
	if d == nil {
		return "", nil
	}
	return d.name, d.hash.Sum(nil)
}
