// SPDX-License-Identifier: Apache-2.0

package chunk_test

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

func BenchmarkCut(b *testing.B) {
	data := content(1, 64<<20)
	cutter := chunk.NewCutter(testSecrets, chunk.DefaultParams(chunk.MethodCDC, -1))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for rest := data; len(rest) > 0; {
			rest = rest[cutter.Next(rest, true):]
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	plain := content(1, 256<<10)
	sealer, err := chunk.NewSealer(testSecrets, chunk.LevelOff)
	if err != nil {
		b.Fatal(err)
	}
	id, k := sealer.Identify(core.KindChunk, plain)
	stored, _ := sealer.Seal(nil, core.KindChunk, k, plain)
	opener := chunk.NewOpener()
	opened := make([]byte, 0, len(plain))
	for name, f := range map[string]func(){
		"identify": func() { id, _ = sealer.Identify(core.KindChunk, plain) },
		"seal":     func() { stored, _ = sealer.Seal(stored[:0], core.KindChunk, k, plain) },
		"hash":     func() { id = chunk.Hash(stored) },
		"open":     func() { opened, _ = open(opener, opened[:0], core.KindChunk, k, stored, len(plain)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
	_ = id
}
