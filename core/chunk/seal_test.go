// SPDX-License-Identifier: Apache-2.0

package chunk_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

func newSealer(t testing.TB, s chunk.Secrets, level chunk.Level) *chunk.Sealer {
	t.Helper()
	sealer, err := chunk.NewSealer(s, level)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

// seal seals content of kind chunk.
func seal(t testing.TB, s chunk.Secrets, level chunk.Level, plain []byte) []byte {
	t.Helper()
	sealer := newSealer(t, s, level)
	_, k := sealer.Identify(core.KindChunk, plain)
	stored, err := sealer.Seal(nil, core.KindChunk, k, plain)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func drawPlain(t *rapid.T) []byte {
	seed, size := rapid.Uint64Range(0, 4).Draw(t, "seed"), rapid.SampledFrom([]int{0, 1, 30, 1000, 70_000}).Draw(t,
		"size")
	if rapid.Bool().Draw(t, "text") {
		return text(seed, size)
	}
	return content(seed, size)
}

// Sealing and opening are inverses at every level, and one key never seals two messages under one nonce: equal (K,
// nonce) means equal stored bytes, whatever the level and method. One table of all that was ever sealed sees to the
// second.
func TestSealAndOpenAreInverse(t *testing.T) {
	sealed := map[string]string{} // K ‖ nonce ‖ kind → stored
	sealers := map[chunk.Level]*chunk.Sealer{}
	for _, level := range chunk.Levels {
		sealers[level] = newSealer(t, testSecrets, level)
	}
	inGo := map[chunk.Level]*chunk.Sealer{} // what a build without cgo seals with
	for _, level := range chunk.Levels[1:] {
		inGo[level] = newSealer(t, testSecrets, level)
		if err := inGo[level].CompressInGo(level); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		plain := drawPlain(t)
		level := rapid.SampledFrom(chunk.Levels).Draw(t, "level")
		kind := rapid.SampledFrom([]core.Kind{core.KindChunk, core.KindNode}).Draw(t, "kind")
		id, k := sealers[level].Identify(kind, plain)
		if id2, k2 := testSecrets.Identify(kind, plain); id2 != id || k2 != k {
			t.Fatal("Sealer and Secrets identify differently")
		}
		sealer := sealers[level]
		if other := inGo[level]; other != nil && rapid.Bool().Draw(t, "in Go") {
			sealer = other
		}
		stored, err := sealer.Seal([]byte("before"), kind, k, plain)
		if err != nil {
			t.Fatal(err)
		}
		stored = bytes.TrimPrefix(stored, []byte("before"))
		if len(stored) > len(plain)+chunk.Overhead {
			t.Fatalf("%d bytes are sealed as %d", len(plain), len(stored))
		}
		for which, opener := range openers() {
			got, err := open(opener, []byte("before"), kind, k, stored, len(plain))
			if err != nil || string(got) != "before"+string(plain) {
				t.Fatalf("opened to %d other bytes %s, %v", len(got), which, err)
			}
		}
		key := string(k[:]) + string(stored[2:14])
		if before, ok := sealed[key]; ok && before != string(stored) {
			t.Fatalf("one key and nonce %x sealed two messages", stored[2:14])
		}
		sealed[key] = string(stored)
	})
}

// openers are those of this build and of one without cgo.
func openers() map[string]*chunk.Opener {
	inGo := chunk.NewOpener()
	inGo.DecompressInGo()
	return map[string]*chunk.Opener{"as built": chunk.NewOpener(), "in Go": inGo}
}

// open opens what holds so many plain bytes.
func open(o *chunk.Opener, dst []byte, kind core.Kind, k core.Key, stored []byte, plain int) ([]byte, error) {
	return o.OpenSealed(dst, kind, core.Sealed{Key: k, Size: core.Size(len(stored)), Plain: core.Size(plain)}, stored)
}

// The test above draws equal content at different levels only by luck; this one makes sure.
func TestLevelsShareNoNonceForDifferentBytes(t *testing.T) {
	again := slices.Concat(text(1, 150_000), text(1, 150_000)) // letters for entropy coding, and matches
	for _, plain := range [][]byte{again, text(2, 50), content(1, 5000), {}} {
		nonces := map[string][]byte{}
		methods := map[byte]bool{}
		for _, level := range chunk.Levels {
			stored := seal(t, testSecrets, level, plain)
			methods[stored[1]] = true
			nonce := string(stored[2:14])
			if before, ok := nonces[nonce]; ok && !bytes.Equal(before, stored) {
				t.Errorf("%d bytes: nonce %x sealed two messages", len(plain), nonce)
			}
			nonces[nonce] = stored
		}
		if len(plain) == 300_000 && (len(nonces) < 3 || !methods[chunk.MethodPlain] || !methods[chunk.MethodZstd]) {
			t.Errorf("levels make %d different messages: this test shows nothing", len(nonces))
		}
	}
}

// Whichever bit is wrong, whatever is missing or too much: code 14.
func TestDamagedChunksDoNotOpen(t *testing.T) {
	opener := chunk.NewOpener()
	for _, plain := range [][]byte{text(1, 200), content(1, 40)} {
		_, k := testSecrets.Identify(core.KindChunk, plain)
		stored := seal(t, testSecrets, chunk.LevelFast, plain)
		wantWrong := func(what string, kind core.Kind, k core.Key, stored []byte) {
			t.Helper()
			if got, err := open(opener, nil, kind, k, stored, len(plain)); core.CodeOf(err) != core.CodeWrong ||
				got != nil {
				t.Errorf("%s: %d bytes, %v", what, len(got), err)
			}
		}
		for i := range 8 * len(stored) {
			flipped := bytes.Clone(stored)
			flipped[i/8] ^= 1 << (i % 8)
			wantWrong(fmt.Sprint("bit ", i), core.KindChunk, k, flipped)
		}
		for n := range len(stored) {
			wantWrong(fmt.Sprint("first ", n), core.KindChunk, k, stored[:n])
		}
		wantWrong("one byte more", core.KindChunk, k, append(bytes.Clone(stored), 0))
		wantWrong("another kind", core.KindNode, k, stored)
		wantWrong("another key", core.KindChunk, core.Key{1}, stored)
	}
}

func TestOpenSealedHoldsSizes(t *testing.T) {
	plain := text(1, 500)
	id, k := testSecrets.Identify(core.KindChunk, plain)
	stored := seal(t, testSecrets, chunk.LevelFast, plain)
	good := core.Sealed{Hash: chunk.Hash(stored), Size: core.Size(len(stored)), Key: k, Plain: 500}
	opener := chunk.NewOpener()
	if got, err := opener.OpenSealed([]byte("x"), core.KindChunk, good, stored); err != nil ||
		string(got) != "x"+string(plain) {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*core.Sealed){
		"stored size": func(s *core.Sealed) { s.Size++ },
		"plain size":  func(s *core.Sealed) { s.Plain-- },
		"key":         func(s *core.Sealed) { s.Key = core.Key(id) },
	} {
		s := good
		spoil(&s)
		if _, err := opener.OpenSealed(nil, core.KindChunk, s, stored); core.CodeOf(err) != core.CodeWrong ||
			!strings.Contains(err.Error(), good.Hash.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Bad input 46: a chunk that decompresses to more than a chunk can hold, or wants a window larger than that.
func TestBombsDoNotGoOff(t *testing.T) {
	k := core.Key{1, 2, 3}
	compress := func(size int, options ...zstd.EOption) []byte {
		e, err := zstd.NewWriter(nil, options...)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		return e.EncodeAll(make([]byte, size), nil)
	}
	// A frame that tells no size, so that only counting shows how much comes out: magic, descriptor, window, and blocks
	// of one repeated byte (128 KiB each).
	untold := func(window byte, blocks int) []byte {
		b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, window}
		for i := range blocks {
			header := uint32(128<<10)<<3 | 1<<1
			if i == blocks-1 {
				header |= 1
			}
			b = append(b, byte(header), byte(header>>8), byte(header>>16), 0)
		}
		return b
	}
	fits := compress(chunk.MaxPlain)
	for _, c := range []struct {
		name string
		body []byte
		size int // as the manifest tells it
		ok   bool
	}{
		{"as much as fits", fits, chunk.MaxPlain, true},
		{"as much as fits, and the manifest tells less", fits, chunk.MaxPlain - 1, false},
		{"less than the manifest tells", compress(chunk.MaxPlain - 1), chunk.MaxPlain, false},
		{"less than nothing, the manifest tells", fits, -1, false},
		{"one byte more", compress(chunk.MaxPlain + 1), chunk.MaxPlain + 1, false},
		{"one byte more than the manifest may tell", compress(chunk.MaxPlain + 1), chunk.MaxPlain, false},
		{"much more", compress(64 << 20), chunk.MaxPlain, false},
		{"two frames that fit alone", append(bytes.Clone(fits), fits...), chunk.MaxPlain, false},
		{"no size told, fits", untold(0x58, 8), 8 * 128 << 10, true},
		{"no size told, much more", untold(0x58, 1024), chunk.MaxPlain, false},
	} {
		stored, err := chunk.SealBody(nil, core.KindChunk, k, chunk.MethodZstd, c.body)
		if err != nil {
			t.Fatal(err)
		}
		for which, opener := range openers() {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			plain, err := open(opener, nil, core.KindChunk, k, stored, c.size)
			runtime.ReadMemStats(&after)
			if c.ok && err != nil || !c.ok && core.CodeOf(err) != core.CodeWrong {
				t.Errorf("%s, %s: %d bytes, %v", c.name, which, len(plain), err)
			}
			// growing from little by little included
			if took := after.TotalAlloc - before.TotalAlloc; took > 8*chunk.MaxPlain {
				t.Errorf("%s, %s: took %d MiB of memory to find out", c.name, which, took>>20)
			}
			if plain, err := open(opener, []byte("prefix"), core.KindChunk, k, stored, c.size); (err == nil) != c.ok {
				t.Errorf("%s, %s, behind a prefix: %d bytes, %v", c.name, which, len(plain), err)
			}
		}
	}
	stored, err := chunk.SealBody(nil, core.KindChunk, k, chunk.MethodZstd, untold(0xa8, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(openers()["in Go"], nil, core.KindChunk, k, stored, 128<<10); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("a window of 2 GiB, which only the decompressor in Go would make: %v", err)
	}
}

func TestTooMuchForAChunk(t *testing.T) {
	sealer := newSealer(t, testSecrets, chunk.LevelOff)
	if _, err := sealer.Seal(nil, core.KindChunk, core.Key{}, make([]byte, chunk.MaxPlain+1)); err == nil {
		t.Error("sealed")
	}
}

func TestLevelNames(t *testing.T) {
	for _, level := range chunk.Levels {
		if got, err := chunk.ParseLevel(string(level)); err != nil || got != level {
			t.Errorf("%s: %s, %v", level, got, err)
		}
	}
	if _, err := chunk.ParseLevel("9"); err == nil || !strings.Contains(err.Error(), "best") {
		t.Errorf("level 9: %v", err)
	}
	if _, err := chunk.NewSealer(testSecrets, "9"); err == nil {
		t.Error("a sealer of level 9")
	}
}

func TestSealInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := text(1, 100_000)
		_, k := testSecrets.Identify(core.KindChunk, plain)
		if _, err := open(chunk.NewOpener(), nil, core.KindChunk, k, seal(t, testSecrets, chunk.LevelFast, plain),
			len(plain)); err != nil {
			t.Error(err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	k := core.Key{1}
	for _, body := range [][]byte{nil, []byte("plain"), text(1, 100)} {
		for _, method := range []byte{chunk.MethodPlain, chunk.MethodZstd} {
			stored, err := chunk.SealBody(nil, core.KindNode, k, method, body)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(stored, false)
			f.Add(body, true)
		}
	}
	openers := openers()
	inGo, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(chunk.MaxPlain), zstd.WithDecoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, authentic bool) {
		size := len(data)
		if authentic { // as if by somebody with the key: what is inside is all that stands between us and it
			if plain, err := inGo.DecodeAll(data, nil); err == nil {
				size = len(plain)
			}
			data, _ = chunk.SealBody(nil, core.KindNode, k, chunk.MethodZstd, data)
		}
		for which, opener := range openers {
			plain, err := open(opener, nil, core.KindNode, k, data, size)
			if err != nil && core.CodeOf(err) != core.CodeWrong {
				t.Errorf("%s: code %d: %v", which, core.CodeOf(err), err)
			}
			if err == nil && len(plain) != size {
				t.Errorf("%s: opened to %d bytes, want %d", which, len(plain), size)
			}
		}
	})
}
