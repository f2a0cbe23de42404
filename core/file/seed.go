// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

// Seed is a local file that is likely to hold many of the wanted chunks, such as an older version of the file.
type Seed struct {
	file   io.ReaderAt
	closer io.Closer
	places map[core.Key]core.Size
}

// OpenSeed cuts a file as the wanted one was cut and remembers where each chunk stands: 48 bytes or so for each.
func OpenSeed(ctx context.Context, path string, secrets chunk.Secrets, p chunk.Params) (*Seed, error) {
	f, err := openSeed(path)
	if err != nil {
		return nil, err
	}
	s := &Seed{file: f, closer: f, places: map[core.Key]core.Size{}}
	if err := s.scan(ctx, f, secrets, p); err != nil {
		f.Close()
		return nil, fmt.Errorf("read seed %s: %w", path, err)
	}
	return s, nil
}

// openSeed never waits, and refuses what cannot be read again at any byte.
func openSeed(path string) (*os.File, error) {
	f, _, err := openStill(path)
	if core.CodeOf(err) == core.CodeUsage {
		err = core.WithHint(err, "a seed is an older version of the file: a file or a block device")
	}
	if err != nil {
		return nil, fmt.Errorf("open seed: %w", err)
	}
	return f, nil
}

// CheckSeed looks whether OpenSeed will take it, before anything is looked for.
func CheckSeed(path string) error {
	f, err := openSeed(path)
	if err == nil {
		f.Close()
	}
	return err
}

// Close closes the file.
func (s *Seed) Close() error { return s.closer.Close() }

func (s *Seed) scan(ctx context.Context, r io.Reader, secrets chunk.Secrets, p chunk.Params) error {
	cutter := chunk.NewCutter(secrets, p)
	buffer := make([]byte, 0, max(4*cutter.Max(), 4<<20))
	var at core.Size
	for eof := false; !eof || len(buffer) > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(r, buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		eof = err != nil
		rest := buffer
		for {
			size := cutter.Next(rest, eof)
			if size == 0 {
				break
			}
			_, k := secrets.Identify(core.KindChunk, rest[:size])
			s.places[k] = at
			at += core.Size(size)
			rest = rest[size:]
		}
		buffer = append(buffer[:0], rest...)
	}
	return nil
}

// find reads a chunk from the seed, where it has it still.
func (s *Seed) find(want core.Sealed, j *joiner, secrets chunk.Secrets) ([]byte, bool) {
	at, ok := s.places[want.Key]
	if !ok {
		return nil, false
	}
	j.plain = append(j.plain[:0], make([]byte, want.Plain)...)
	if _, err := s.file.ReadAt(j.plain, int64(at)); err != nil {
		return nil, false
	}
	_, k := secrets.Identify(core.KindChunk, j.plain)
	return j.plain, k == want.Key // the file may have changed since the scan
}
