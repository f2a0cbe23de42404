// SPDX-License-Identifier: Apache-2.0

package chunk_test

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/zeebo/blake3"
	"pgregory.net/rapid"
)

// slowCut is the slow obvious twin of Cutter: it takes the definition of the package comment by the word.
func slowCut(secret [32]byte, p chunk.Params, content []byte) (lengths []int) {
	table := make([]byte, 2048)
	blake3.DeriveKey("bkp gear v1", secret[:], table)
	log := bits.TrailingZeros(uint(p.Avg))
	start, h := 0, uint64(0)
	for i, b := range content {
		at := i - start // position of b in its chunk
		cut := at == p.Max-1
		if p.Method == chunk.MethodCDC && at >= p.Min {
			h = h<<1 + binary.LittleEndian.Uint64(table[8*int(b):])
			n := log - 2
			if at < p.Avg {
				n = log + 2
			}
			cut = cut || bits.LeadingZeros64(h) >= n
		}
		if cut || i == len(content)-1 {
			lengths = append(lengths, at+1)
			start, h = i+1, 0
		}
	}
	return lengths
}

// cutInPieces feeds a Cutter as a reader with a buffer does: more and more of the content, as much at a time as grow
// says.
func cutInPieces(p chunk.Params, content []byte, grow func() int) (lengths []int) {
	cutter := chunk.NewCutter(testSecrets, p)
	start, end := 0, 0
	for start < len(content) {
		n := cutter.Next(content[start:end], end == len(content))
		if n == 0 {
			end = min(end+grow(), len(content))
			continue
		}
		lengths = append(lengths, n)
		start += n
	}
	return lengths
}

// drawParams draws parameters small enough that little content has many chunks.
func drawParams(t *rapid.T) chunk.Params {
	if rapid.Bool().Draw(t, "fixed") {
		n := rapid.IntRange(1, 300).Draw(t, "length")
		return chunk.Params{Method: chunk.MethodFixed, Min: n, Avg: n, Max: n}
	}
	avg := 1 << rapid.IntRange(6, 10).Draw(t, "log avg")
	return chunk.Params{Method: chunk.MethodCDC, Min: avg / 4, Avg: avg, Max: 4 * avg}
}

func TestCutPointsDoNotDependOnBuffers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawParams(t)
		data := content(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 20_000).Draw(t, "size"))
		if rapid.Bool().Draw(t, "zeros") && len(data) > 0 {
			clear(data[:rapid.IntRange(0, len(data)).Draw(t, "of them")])
		}
		want := slowCut(testSecret, p, data)
		if got := cutInPieces(p, data, func() int { return len(data) }); !slices.Equal(got, want) {
			t.Fatalf("at once: %v, want %v", got, want)
		}
		step := rapid.IntRange(1, 3000)
		if got := cutInPieces(p, data, func() int { return step.Draw(t, "bytes more") }); !slices.Equal(got, want) {
			t.Fatalf("in pieces: %v, want %v", got, want)
		}
	})
}

func TestCutsReturnAfterAnInsertion(t *testing.T) {
	p := chunk.Params{Method: chunk.MethodCDC, Min: 64, Avg: 256, Max: 1024}
	before := content(7, 100_000)
	after := slices.Concat(before[:50_000], []byte("inserted"), before[50_000:])
	known := map[string]bool{}
	for rest := before; len(rest) > 0; {
		n := chunk.NewCutter(testSecrets, p).Next(rest, true)
		known[string(rest[:n])] = true
		rest = rest[n:]
	}
	fresh, all := 0, 0
	for rest := after; len(rest) > 0; all++ {
		n := chunk.NewCutter(testSecrets, p).Next(rest, true)
		if !known[string(rest[:n])] {
			fresh++
		}
		rest = rest[n:]
	}
	if fresh == 0 || fresh > 8 {
		t.Errorf("%d of %d chunks are new after one insertion", fresh, all)
	}
}

func TestAverageIsAboutAverage(t *testing.T) {
	p := chunk.Params{Method: chunk.MethodCDC, Min: 256, Avg: 1024, Max: 4096}
	data := content(3, 4<<20)
	chunks := len(slowCut(testSecret, p, data))
	if mean := len(data) / chunks; mean < 900 || mean > 1500 {
		t.Errorf("mean of %d bytes, want about %d", mean, p.Avg)
	}
}

func TestOtherSecretsCutElsewhere(t *testing.T) {
	p := chunk.Params{Method: chunk.MethodCDC, Min: 64, Avg: 256, Max: 1024}
	data := content(3, 50_000)
	other := testSecret
	other[0]++
	if slices.Equal(slowCut(testSecret, p, data), slowCut(other, p, data)) {
		t.Error("two owners cut alike")
	}
	if bytes.Equal(seal(t, testSecrets, chunk.LevelOff, data), seal(t, chunk.NewSecrets(other), chunk.LevelOff, data)) {
		t.Error("two owners seal alike")
	}
}

func TestDefaultParams(t *testing.T) {
	for _, c := range []struct {
		method string
		size   core.Size
		avg    int
	}{
		{chunk.MethodCDC, -1, 256 << 10}, {chunk.MethodCDC, 0, 256 << 10},
		{chunk.MethodCDC, 256*core.GiB - 1, 256 << 10},
		{chunk.MethodCDC, 256 * core.GiB, 1 << 20}, {chunk.MethodCDC, 4*core.TiB - 1, 1 << 20},
		{chunk.MethodCDC, 4 * core.TiB, 4 << 20},
		{chunk.MethodFixed, -1, 128 << 10}, {chunk.MethodFixed, 10 * core.TiB, 128 << 10},
	} {
		p := chunk.DefaultParams(c.method, c.size)
		want := chunk.Params{Method: c.method, Min: c.avg / 4, Avg: c.avg, Max: 4 * c.avg}
		if c.method == chunk.MethodFixed {
			want.Min, want.Max = c.avg, c.avg
		}
		if p != want || p.Check() != nil {
			t.Errorf("%s of %d: %+v (%v), want %+v", c.method, c.size, p, p.Check(), want)
		}
	}
}

func TestBadParams(t *testing.T) {
	good := chunk.DefaultParams(chunk.MethodCDC, -1)
	for name, spoil := range map[string]func(*chunk.Params){
		"method":              func(p *chunk.Params) { p.Method = "auto" },
		"min of 0":            func(p *chunk.Params) { p.Min = 0 },
		"min above avg":       func(p *chunk.Params) { p.Min = p.Avg + 1 },
		"avg above max":       func(p *chunk.Params) { p.Max = p.Avg - 1 },
		"max above MaxPlain":  func(p *chunk.Params) { p.Max = chunk.MaxPlain + 1 },
		"no power of two":     func(p *chunk.Params) { p.Avg++ },
		"fixed of many sizes": func(p *chunk.Params) { p.Method = chunk.MethodFixed },
	} {
		p := good
		spoil(&p)
		if p.Check() == nil {
			t.Errorf("%s: %+v passes", name, p)
		}
	}
}

func FuzzCutterIsItsTwin(f *testing.F) {
	f.Add(content(1, 600), uint16(100))
	f.Add(make([]byte, 600), uint16(1))
	f.Add([]byte{}, uint16(7))
	f.Fuzz(func(t *testing.T, data []byte, step uint16) {
		p := chunk.Params{Method: chunk.MethodCDC, Min: 16, Avg: 64, Max: 256}
		got := cutInPieces(p, data, func() int { return int(step) + 1 })
		if want := slowCut(testSecret, p, data); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
