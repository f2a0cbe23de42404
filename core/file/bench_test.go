// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// corpus is real content: the sources and tools of the Go tree, as one file of 256 MiB.
func corpus(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "corpus")
	out, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	const size = 256 << 20
	written := 0
	filepath.WalkDir(goRoot(), func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if written >= size {
			return filepath.SkipAll
		}
		data, err := os.ReadFile(p)
		if err == nil {
			n, _ := out.Write(data[:min(len(data), size-written)])
			written += n
		}
		return nil
	})
	if written < 50<<20 {
		b.Skip("no Go tree to take content from")
	}
	return path
}

func BenchmarkSplit(b *testing.B) {
	text := corpus(b)
	noise := filepath.Join(b.TempDir(), "noise")
	if err := os.WriteFile(noise, content(1, 256<<20, false), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		level      chunk.Level
		recheck    bool
		again      bool
	}{
		{"fast", text, chunk.LevelFast, true, false},
		{"fast no-recheck", text, chunk.LevelFast, false, false},
		{"default", text, chunk.LevelDefault, true, false},
		{"off", text, chunk.LevelOff, true, false},
		{"unchanged", text, chunk.LevelFast, true, true},
		{"incompressible", noise, chunk.LevelFast, true, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			splitOnce := func(dir string) file.SplitResult {
				s, err := disk.Open(dir)
				if err != nil {
					b.Fatal(err)
				}
				source, err := file.Open(c.path)
				if err != nil {
					b.Fatal(err)
				}
				defer source.Close()
				b.SetBytes(int64(source.Size))
				r, err := file.Split(context.Background(), file.SplitInput{Source: source,
					Params: chunk.DefaultParams(chunk.MethodCDC, source.Size),
					Level:  c.level, Secrets: testSecrets, Store: s, Recheck: c.recheck})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				return r
			}
			if c.again {
				splitOnce(dir)
			}
			for b.Loop() {
				if !c.again {
					b.StopTimer()
					os.RemoveAll(dir)
					b.StartTimer()
				}
				r := splitOnce(dir)
				b.ReportMetric(float64(r.StoredBytes)/float64(r.Bytes), "stored/byte")
			}
		})
	}
}

func BenchmarkJoin(b *testing.B) {
	path := corpus(b)
	s, err := disk.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	source, err := file.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer source.Close()
	r := split(b, file.SplitInput{Source: source, Params: chunk.DefaultParams(chunk.MethodCDC, source.Size), Store: s})
	b.SetBytes(int64(r.Bytes))
	out := filepath.Join(b.TempDir(), "joined")
	for b.Loop() {
		again := restore(r.Root, s, out)
		again.Force = true
		if _, err := again.Run(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
