// SPDX-License-Identifier: Apache-2.0

package chunk_test

import (
	"bytes"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

// A file is cut by its content, each chunk sealed under a key made from what is in it, and opened again.
func Example() {
	secrets := chunk.NewSecrets([32]byte{1})
	cutter := chunk.NewCutter(secrets, chunk.DefaultParams(chunk.MethodCDC, -1))
	sealer, err := chunk.NewSealer(secrets, chunk.LevelOff)
	if err != nil {
		panic(err)
	}
	content := bytes.Repeat([]byte("all work and no play "), 100_000)
	var opened []byte
	chunks, different := 0, map[core.Hash]bool{}
	for rest := content; len(rest) > 0; chunks++ {
		plain := rest[:cutter.Next(rest, true)]
		rest = rest[len(plain):]

		_, key := sealer.Identify(core.KindChunk, plain)
		stored, err := sealer.Seal(nil, core.KindChunk, key, plain)
		if err != nil {
			panic(err)
		}
		s := core.Sealed{Hash: chunk.Hash(stored), Key: key, Size: core.Size(len(stored)), Plain: core.Size(len(plain))}
		different[s.Hash] = true
		if opened, err = chunk.NewOpener().OpenSealed(opened, core.KindChunk, s, stored); err != nil {
			panic(err)
		}
	}
	fmt.Println(chunks, "chunks,", len(different), "different;", bytes.Equal(opened, content))
	// Output: 3 chunks, 3 different; true
}
