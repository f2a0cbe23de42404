// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
)

// Against holds a file or block device against a version, of which the manifest is enough: it tells the bytes of the
// file that are not those of the version, in whole chunks, and those that one of them has more than the other.
func Against(ctx context.Context, root core.Sealed, local Chunks, source *Source, secrets chunk.Secrets,
	progress func(done core.Size)) (differ []core.Range, err error) {
	if source.file == nil {
		return nil, core.Fail(core.CodeUsage, "only a file with a size can be held against a version")
	}
	c, err := newComparer(source, secrets)
	if err != nil {
		return nil, err
	}
	end := core.Size(0)
	note := func(from, to core.Size) {
		if last := len(differ) - 1; last >= 0 && differ[last].Start+differ[last].Length == int(from) {
			differ[last].Length += int(to - from)
			return
		}
		differ = append(differ, core.Range{Start: int(from), Length: int(to - from)})
	}
	err = manifest.Walk(root, &nodeOpener{ctx, local, chunk.NewOpener()}, func(e manifest.Entry) error {
		for end = e.Offset; end < e.Offset+e.Span; {
			piece := e
			if e.Hole() {
				piece.Offset, piece.Span = end, min(mostCompared, e.Offset+e.Span-end)
			}
			same, err := c.same(piece)
			if err == nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				return source.named(err)
			}
			if end += piece.Span; !same {
				note(piece.Offset, end)
			}
			progress(end)
		}
		return nil
	})
	if err == nil && end < source.Size {
		note(end, source.Size)
	}
	return differ, err
}
