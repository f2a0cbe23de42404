// SPDX-License-Identifier: Apache-2.0

package chunk_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// The vectors fix what a key makes of content: where it is cut, how it is named and sealed. They may grow, never
// change: stored chunks are read for as long as there are any. The body of a compressed one is given, since another
// release of the compressor may make another from the same content.
func TestGoldenVectors(t *testing.T) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "secret %x\n", testSecret)
	pattern := make([]byte, 200_000)
	for i := range pattern {
		pattern[i] = byte(i * i >> 7 * (i % 251))
	}
	p := chunk.Params{Method: chunk.MethodCDC, Min: 2048, Avg: 8192, Max: 32768}
	fmt.Fprintf(&out, "cut %+v %v\n", p, slowCut(testSecret, p, pattern))
	if got := cutInPieces(p, pattern, func() int { return len(pattern) }); fmt.Sprint(got) != fmt.Sprint(slowCut(testSecret, p, pattern)) {
		t.Errorf("cut at %v", got)
	}
	for _, kind := range []core.Kind{core.KindChunk, core.KindNode} {
		for _, plain := range []string{"", "a", "the bytes of a chunk"} {
			id, k := testSecrets.Identify(kind, []byte(plain))
			stored, err := newSealer(t, testSecrets, chunk.LevelOff).Seal(nil, kind, k, []byte(plain))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s %q id %s key %x stored %x hash %s\n", kind, plain, id, k, stored, chunk.Hash(stored))
		}
	}
	// A zstd frame: one raw block that holds "ab", written by hand from RFC 8878.
	body, err := hex.DecodeString("28b52ffd2002" + "110000" + "6162")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := chunk.SealBody(nil, core.KindChunk, core.Key{7}, chunk.MethodZstd, body)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := open(chunk.NewOpener(), nil, core.KindChunk, core.Key{7}, stored, 2); err != nil ||
		string(plain) != "ab" {
		t.Errorf("opened to %q, %v", plain, err)
	}
	fmt.Fprintf(&out, "chunk with key 07… and compressed body %x stored %x\n", body, stored)
	run := []core.Chunk{{Hash: core.Hash{1}, Size: 2}, {Hash: core.Hash{3}, Size: 1 << 40}}
	fmt.Fprintf(&out, "run of %v %s\nrun of nothing %s\n", run, chunk.RunHash(run), chunk.RunHash(nil))

	path := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}
