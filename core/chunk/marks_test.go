// SPDX-License-Identifier: Apache-2.0

package chunk_test

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/core/chunk"
	"pgregory.net/rapid"
)

// cutInParts marks parts of the content each by itself, in no order, and walks along the marks.
func cutInParts(p chunk.Params, content []byte, part int) (lengths []int, ok bool) {
	cutter := chunk.NewCutter(testSecrets, p)
	var parts [][]chunk.Mark
	for at := 0; at < len(content); at += part {
		parts = append(parts, nil)
	}
	for _, i := range rand.Perm(len(parts)) {
		at := i * part
		before := max(0, at-chunk.Window)
		parts[i], ok = cutter.Marks(nil, content[before:min(at+part, len(content))], at-before, int64(at))
		if !ok {
			return nil, false
		}
	}
	marks := slices.Concat(parts...)
	for at := 0; at < len(content); {
		for len(marks) > 0 && marks[0].End <= int64(at) {
			marks = marks[1:]
		}
		n := cutter.NextMarked(content[at:], true, int64(at), marks)
		lengths = append(lengths, n)
		at += n
	}
	return lengths, true
}

func TestPartsAreCutAsTheWhole(t *testing.T) {
	cut := 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawParams(t)
		data := content(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 20_000).Draw(t, "size"))
		if rapid.Bool().Draw(t, "alike") {
			for i := range data {
				data[i] &= 3
			}
		}
		got, ok := cutInParts(p, data, rapid.IntRange(1, 6000).Draw(t, "part"))
		if !ok {
			return // too many marks for so small chunks
		}
		cut++
		if want := slowCut(testSecret, p, data); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
	if cut == 0 {
		t.Error("no content was cut by marks")
	}
}

func TestMarksThatAreTooManyAreRefused(t *testing.T) {
	p := chunk.DefaultParams(chunk.MethodCDC, -1)
	cutter := chunk.NewCutter(testSecrets, p)
	refused := 0
	for b := range 256 { // of one byte again and again, some make a mark of every place
		marks, ok := cutter.Marks(nil, bytes.Repeat([]byte{byte(b)}, 1<<16), 0, 0)
		if !ok {
			refused++
		}
		if len(marks) > 1<<10+1 {
			t.Fatalf("%d marks in 64 KiB", len(marks))
		}
	}
	small := chunk.NewCutter(testSecrets, chunk.Params{Method: chunk.MethodCDC, Min: 16, Avg: 64, Max: 256})
	if _, ok := small.Marks(nil, content(1, 1<<16), 0, 0); ok && refused == 0 {
		t.Error("no content has too many marks")
	}
	if _, ok := chunk.NewCutter(testSecrets, chunk.DefaultParams(chunk.MethodFixed, -1)).Marks(nil, content(1, 100), 0,
		0); ok {
		t.Error("equal sizes have marks")
	}
}

func FuzzPartsAreCutAsTheWhole(f *testing.F) {
	f.Add(content(1, 5000), uint8(0), uint16(700))
	f.Add(make([]byte, 3000), uint8(1), uint16(63))
	f.Add(bytes.Repeat([]byte("abcdefg"), 900), uint8(2), uint16(64))
	f.Fuzz(func(t *testing.T, data []byte, log uint8, part uint16) {
		avg := 64 << (log % 5)
		p := chunk.Params{Method: chunk.MethodCDC, Min: avg / 4, Avg: avg, Max: 4 * avg}
		if got, ok := cutInParts(p, data, int(part)+1); ok && !slices.Equal(got, slowCut(testSecret, p, data)) {
			t.Fatalf("%v, want %v", got, slowCut(testSecret, p, data))
		}
	})
}

func TestGuess(t *testing.T) {
	at := func(at int, what string) []byte {
		b := make([]byte, chunk.GuessSize)
		copy(b[at:], what)
		return b
	}
	disk := at(510, "\x55\xaa")
	copy(disk[446:], "\x80\x01\x01\x00\x83\xfe\xff\xff\x00\x08\x00\x00\x00\x00\x40\x00")
	iso := slices.Clone(disk)
	copy(iso[0x8001:], "CD001")
	for name, c := range map[string]struct {
		first []byte
		want  string
	}{
		"nothing":                 {nil, chunk.MethodCDC},
		"text":                    {bytes.Repeat([]byte("all work and no play "), 5000), chunk.MethodCDC},
		"noise":                   {content(3, chunk.GuessSize), chunk.MethodCDC},
		"disk":                    {disk, chunk.MethodFixed},
		"signature alone":         {at(510, "\x55\xaa"), chunk.MethodCDC},
		"disk, one sector of it":  {disk[:512], chunk.MethodFixed},
		"disk, less than that":    {disk[:511], chunk.MethodCDC},
		"gpt":                     {at(512, "EFI PART"), chunk.MethodFixed},
		"ext4":                    {at(1080, "\x53\xef"), chunk.MethodFixed},
		"xfs":                     {at(0, "XFSB"), chunk.MethodFixed},
		"btrfs":                   {at(0x10040, "_BHRfS_M"), chunk.MethodFixed},
		"qcow2":                   {at(0, "QFI\xfb\x00\x00\x00\x03"), chunk.MethodFixed},
		"ntfs":                    {at(3, "NTFS    "), chunk.MethodFixed},
		"iso to start from disks": {iso, chunk.MethodCDC},
		"tar of an ext4 image":    {append(at(257, "ustar")[:512], at(1080, "\x53\xef")...), chunk.MethodCDC},
	} {
		if got := chunk.Guess(c.first); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// BenchmarkCutParts cuts on all cores.
func BenchmarkCutParts(b *testing.B) {
	data := content(1, 64<<20)
	p := chunk.DefaultParams(chunk.MethodCDC, -1)
	cutter := chunk.NewCutter(testSecrets, p)
	const part = 4 << 20
	parts := make([][]chunk.Mark, len(data)/part)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		var wg sync.WaitGroup
		work := make(chan int, len(parts))
		for i := range parts {
			work <- i
		}
		close(work)
		for range runtime.GOMAXPROCS(0) {
			wg.Go(func() {
				for i := range work {
					before := max(0, i*part-chunk.Window)
					parts[i], _ = cutter.Marks(parts[i][:0], data[before:(i+1)*part], i*part-before, int64(i*part))
				}
			})
		}
		wg.Wait()
		marks := slices.Concat(parts...)
		for at := 0; at < len(data); {
			for len(marks) > 0 && marks[0].End <= int64(at) {
				marks = marks[1:]
			}
			at += cutter.NextMarked(data[at:], true, int64(at), marks)
		}
	}
}
