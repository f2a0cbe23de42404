// SPDX-License-Identifier: Apache-2.0

package job

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/job"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// drill fetches a version again, or a part of it drawn at random, and compares it with the file where that is still as
// it was before the backup. Every chunk is held against the manifest anyway. Nothing stays.
func (c runner) drill(ctx context.Context, j job.Job, r jobResult, before os.FileInfo) (d job.Drill, err error) {
	d = job.Drill{Time: time.Now().Unix(), Version: r.Version, Bytes: int64(r.Bytes)}
	scratch, err := os.MkdirTemp("", "bkp-drill")
	if err != nil {
		return d, err
	}
	defer os.RemoveAll(scratch)
	file := filepath.Join(scratch, "fetched")
	words := []string{"fetch", "--output=" + file}
	if j.Drill != job.All && j.Drill < r.Bytes {
		d.Bytes = int64(j.Drill)
		d.Start = rand.Int64N(int64(r.Bytes) - d.Bytes + 1)
		words = append(words, fmt.Sprintf("--range=%d-%d", d.Start, d.Start+d.Bytes))
	}
	var got control.FetchResult
	if err := c.give(ctx, append(words, "--", render.Versioned(r.Name, r.Version)), &got); err != nil {
		return d, err
	}
	for _, s := range got.Sources {
		if s.Bytes > 0 && !s.Node.IsZero() { // zero is this machine's own store
			d.Nodes++
		}
	}
	d.Seconds = got.Seconds
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return d, err
	case info.Size() != d.Bytes:
		return d, core.Fail(core.CodeWrong, "%d bytes came back, not %d", info.Size(), d.Bytes)
	case before == nil || !before.Mode().IsRegular() || !sameFile(j.Path, before):
		return d, nil
	}
	equal, err := equalBytes(file, j.Path, d.Start, d.Bytes)
	if err == nil && !equal && sameFile(j.Path, before) {
		err = core.Fail(core.CodeWrong, "what came back of %s is not what stands in %s", render.Versioned(r.Name, r.Version), j.Path)
	}
	d.Source = equal
	return d, err
}

// sameFile reports whether a file is as it was before, by a look.
func sameFile(path string, before os.FileInfo) bool {
	now, err := os.Stat(path)
	return err == nil && os.SameFile(now, before) && now.Size() == before.Size() && now.ModTime().Equal(before.ModTime())
}

// equalBytes compares the n bytes of a file with those of another from start on.
func equalBytes(file, other string, start, n int64) (bool, error) {
	a, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return false, err
	}
	defer b.Close()
	left, right := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < n; at += int64(len(left)) {
		size := min(n-at, int64(len(left)))
		_, errLeft := a.ReadAt(left[:size], at)
		_, errRight := b.ReadAt(right[:size], start+at)
		if err := cmp.Or(ignoreEnd(errLeft), ignoreEnd(errRight)); err != nil {
			return false, fmt.Errorf("compare %s: %w", other, err)
		}
		if !bytes.Equal(left[:size], right[:size]) {
			return false, nil
		}
	}
	return true, nil
}

// ignoreEnd is err unless that says that a file ended where it was read to.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
