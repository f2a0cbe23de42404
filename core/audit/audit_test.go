// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/zeebo/blake3"
	"pgregory.net/rapid"
)

// holder is a node that has chunks, and says whatever a test has it say.
type holder struct {
	*key.Signer
	stored map[core.Hash][]byte
}

func newHolder() *holder {
	return &holder{key.SignerFromSeed([32]byte{7}), map[core.Hash][]byte{}}
}

// chunk is one of so many bytes, which the holder has.
func (h *holder) chunk(rnd *rand.Rand, size int) core.Chunk {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	c := core.Chunk{Hash: blake3.Sum256(data), Size: core.Size(size)}
	h.stored[c.Hash] = data
	return c
}

// answers is the holder's proof, of the bytes that it has.
func (h *holder) answers(t interface{ Fatal(...any) }, c core.Challenge, parts []Part) core.Proof {
	var slices [][]byte
	for _, r := range c.Ranges {
		slice, err := Slice(h.stored[parts[r.Run].Chunks[r.Chunk].Hash], r.Offset)
		if err != nil {
			t.Fatal(err)
		}
		slices = append(slices, slice)
	}
	return Prove(c, slices, h)
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// sizes has the ends of leaves and of subtrees.
var sizes = rapid.OneOf(rapid.IntRange(1, 5000), rapid.SampledFrom([]int{1, 1023, 1024, 1025, 2047, 2048, 2049, 3072,
	4096, 65536, 65537, 262174, 1 << 20}))

// Who has the bytes proves it, whatever is drawn, and what was drawn is what is kept.
func TestWhoHasTheBytesProvesIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd, h := seeded(rapid.Uint64().Draw(t, "seed")), newHolder()
		parts := make([]Part, rapid.IntRange(1, 20).Draw(t, "runs"))
		for i := range parts {
			parts[i].Number = i
			for range rapid.IntRange(1, 3).Draw(t, "chunks") {
				parts[i].Chunks = append(parts[i].Chunks, h.chunk(rnd, sizes.Draw(t, "size")))
			}
			parts[i].Kept = core.NewBitmap(len(parts[i].Chunks))
			parts[i].Kept.Set(rnd.IntN(len(parts[i].Chunks)))
		}
		c := core.Challenge{Task: core.TaskID{1}, Ranges: Draw(rnd, parts, Enough)}
		asked := map[int]bool{}
		for i, r := range c.Ranges {
			asked[r.Run] = true
			if !parts[r.Run].Kept.Has(r.Chunk) || length(parts[r.Run].Chunks[r.Chunk].Size, r.Offset) < 1 {
				t.Fatalf("drawn: %+v", r)
			}
			if i > 0 && r == c.Ranges[i-1] {
				t.Fatalf("%+v is drawn twice", r)
			}
		}
		if len(parts) <= Enough && len(asked) < len(parts) {
			t.Fatalf("of %d runs %d are asked for", len(parts), len(asked))
		}
		if err := Check(c, h.answers(t, c, parts), h.ID(), parts); err != nil {
			t.Fatal(err)
		}
	})
}

// Nothing but the slice of that range of that chunk proves it.
func TestNothingElseProvesIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd, h := seeded(rapid.Uint64().Draw(t, "seed")), newHolder()
		right, other := h.chunk(rnd, sizes.Draw(t, "size")), h.chunk(rnd, sizes.Draw(t, "other"))
		offset := core.Size(rnd.Int64N(int64(right.Size))) / core.AuditLength * core.AuditLength
		good, err := Slice(h.stored[right.Hash], offset)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckSlice(right, offset, good); err != nil {
			t.Fatal(err)
		}
		refused := func(what string, c core.Chunk, offset core.Size, slice []byte) {
			if CheckSlice(c, offset, slice) == nil {
				t.Fatalf("%s proves it", what)
			}
		}
		flipped := bytes.Clone(good)
		flipped[rnd.IntN(len(good))] ^= 1 << rnd.IntN(8)
		refused("a slice with one other bit", right, offset, flipped)
		refused("a slice that is cut short", right, offset, good[:rnd.IntN(len(good))])
		refused("a slice with more behind it", right, offset, append(bytes.Clone(good), 0))
		refused("a slice of another chunk", other, 0, good)
		if another := offset + core.AuditLength; another < right.Size {
			slice, _ := Slice(h.stored[right.Hash], another)
			refused("a slice of another range", right, offset, slice)
		}
		longer := right
		longer.Size++
		refused("a slice of a chunk that is shorter than was said", longer, offset, good)
		headed := binary.LittleEndian.AppendUint64(nil, uint64(longer.Size))
		refused("a slice that says another size", right, offset, append(headed, good[8:]...))
		refused("an offset between ranges", right, offset+1, good)
		refused("an offset beyond the chunk", right, right.Size+core.AuditLength, good)
	})
}

// Bytes that are zero are proved like others: what a slice lacks does not stand for them.
func TestZerosAreProvedToo(t *testing.T) {
	for _, size := range []int{1, 2, 1024, 1025, 9000} {
		data := make([]byte, size)
		c := core.Chunk{Hash: blake3.Sum256(data), Size: core.Size(size)}
		for offset := core.Size(0); offset < c.Size; offset += core.AuditLength {
			slice, err := Slice(data, offset)
			if err == nil {
				err = CheckSlice(c, offset, slice)
			}
			if err != nil {
				t.Fatal(err)
			}
			for short := range slice {
				if CheckSlice(c, offset, slice[:short]) == nil {
					t.Errorf("%d bytes: %d of %d bytes of a slice prove the range at %d", size, short, len(slice), offset)
				}
			}
		}
	}
}

// A proof is of its holder, and of the challenge that it answers.
func TestProofIsOfOneChallenge(t *testing.T) {
	rnd, h := seeded(1), newHolder()
	parts := []Part{{Chunks: []core.Chunk{h.chunk(rnd, 9000)}, Kept: core.Bitmap{1}}}
	c := core.Challenge{Task: core.TaskID{1}, Nonce: core.Hash{1}, Ranges: Draw(rnd, parts, 3)}
	p := h.answers(t, c, parts)
	if err := Check(c, p, h.ID(), parts); err != nil {
		t.Fatal(err)
	}
	later, elsewhere, fewer := c, c, c
	later.Nonce, elsewhere.Segment, fewer.Ranges = core.Hash{2}, 1, c.Ranges[:2]
	for what, bad := range map[string]error{
		"of another nonce":            Check(later, p, h.ID(), parts),
		"of another segment":          Check(elsewhere, p, h.ID(), parts),
		"of another node":             Check(c, p, key.SignerFromSeed([32]byte{8}).ID(), parts),
		"of fewer ranges":             Check(c, Prove(c, p.Slices[:2], h), h.ID(), parts),
		"of more ranges":              Check(fewer, Prove(fewer, p.Slices, h), h.ID(), parts),
		"of nothing":                  Check(c, core.Proof{}, h.ID(), parts),
		"of a run that was not drawn": Check(c, p, h.ID(), nil),
	} {
		if bad == nil {
			t.Errorf("a proof %s is taken", what)
		}
	}
}

// Who signs everything and keeps nothing cannot answer the first challenge, not even with the bytes of other chunks.
func TestLiarIsFoundAtOnce(t *testing.T) {
	for seed := range uint64(1000) {
		rnd, h := seeded(seed), newHolder()
		parts := []Part{{Chunks: []core.Chunk{h.chunk(rnd, 3000)}, Kept: core.Bitmap{1}}}
		c := core.Challenge{Ranges: Draw(rnd, parts, Enough)}
		h.stored[parts[0].Chunks[0].Hash] = make([]byte, 3000)
		if Check(c, h.answers(t, c, parts), h.ID(), parts) == nil {
			t.Fatalf("seed %d: a liar has proved what it does not have", seed)
		}
	}
}

// Who forgot 1 % of what it receipted is found within 500 ranges in at least 98 of 100 seeds, also where the chunks are
// of very different sizes and what is forgotten is the small ones.
func TestForgetterIsFound(t *testing.T) {
	const seeds, audits = 1000, 500
	for name, size := range map[string]func(i int) core.Size{
		"equal chunks":     func(int) core.Size { return 256 * core.KiB },
		"different chunks": func(i int) core.Size { return core.Size(1+i%64) * 16 * core.KiB },
	} {
		var parts []Part
		total := core.Size(0)
		for i := range 400 {
			p := Part{Number: i, Kept: core.FullBitmap(10)}
			for j := range 10 {
				p.Chunks = append(p.Chunks, core.Chunk{Size: size(i*10 + j)})
				total += p.Chunks[j].Size
			}
			parts = append(parts, p)
		}
		found := 0
		for seed := range uint64(seeds) {
			rnd := seeded(seed)
			gone := map[[2]int]bool{}
			for lost := core.Size(0); lost < total/100; {
				at := [2]int{rnd.IntN(len(parts)), rnd.IntN(10)}
				if !gone[at] {
					gone[at] = true
					lost += parts[at[0]].Chunks[at[1]].Size
				}
			}
			for asked := 0; asked < audits; {
				drawn := Draw(rnd, parts, min(Enough, audits-asked))
				hit := false
				for _, r := range drawn {
					hit = hit || gone[[2]int{r.Run, r.Chunk}]
				}
				if asked += len(drawn); hit {
					found++
					break
				}
			}
		}
		if t.Logf("%s: found in %d of %d seeds", name, found, seeds); found < seeds*98/100 {
			t.Errorf("%s: who forgot 1 %% is found within %d ranges in %d of %d seeds", name, audits, found, seeds)
		}
	}
}

func FuzzSlice(f *testing.F) {
	rnd, h := seeded(1), newHolder()
	c := h.chunk(rnd, 5000)
	good, _ := Slice(h.stored[c.Hash], 2048)
	f.Add(good, int64(2048))
	f.Add(good[:40], int64(0))
	f.Fuzz(func(t *testing.T, slice []byte, offset int64) {
		if CheckSlice(c, core.Size(offset), slice) != nil {
			return
		}
		want, err := Slice(h.stored[c.Hash], core.Size(offset))
		if err != nil || !bytes.Equal(slice, want) {
			t.Errorf("a slice at %d that is not the chunk's proves it: %x", offset, slice)
		}
	})
}

// What one range costs its holder.
func BenchmarkSlice(b *testing.B) {
	h := newHolder()
	c := h.chunk(seeded(1), 256<<10)
	b.SetBytes(int64(c.Size))
	for b.Loop() {
		if _, err := Slice(h.stored[c.Hash], 128<<10); err != nil {
			b.Fatal(err)
		}
	}
}
