// SPDX-License-Identifier: Apache-2.0

package chunk

import "math/bits"

// Cutter finds where chunks end. It keeps no state between calls, so any number of goroutines may use one.
type Cutter struct {
	gear          *[256]uint64
	min, avg, max int
	before, after uint64 // cut when h is below: the top n bits are zero
	fixed         bool
}

// NewCutter cuts by p, which must pass Check.
func NewCutter(s Secrets, p Params) *Cutter {
	if err := p.Check(); err != nil {
		panic("chunk.NewCutter: " + err.Error())
	}
	log := bits.Len(uint(p.Avg)) - 1
	return &Cutter{
		gear: s.gear, min: p.Min, avg: p.Avg, max: p.Max, fixed: p.Method == MethodFixed,
		before: 1 << (64 - (log + 2)), after: 1 << (64 - (log - 2)),
	}
}

// Max is the longest chunk there can be: with so many bytes in its buffer, Next always finds an end.
func (c *Cutter) Max() int { return c.max }

// Next is the length of the chunk at the start of buf. It is 0 where more bytes are needed to tell: call again with the
// same bytes and more. At the end of the content, eof ends the last chunk with buf. What is found does not depend on
// how much buf holds beyond the chunk.
func (c *Cutter) Next(buf []byte, eof bool) int {
	n := len(buf)
	if n > c.max {
		n = c.max
	}
	if !c.fixed && n > c.min {
		if cut := c.scan(buf[:n]); cut > 0 {
			return cut
		}
	}
	if n == c.max || eof {
		return n
	}
	return 0
}

// scan looks for a cut in the bytes after min; 0 is none.
func (c *Cutter) scan(buf []byte) int {
	mid := min(c.avg, len(buf))
	cut, h := gearScan(c.gear, buf[c.min:mid], 0, c.before)
	if cut > 0 {
		return c.min + cut
	}
	if cut, _ = gearScan(c.gear, buf[mid:], h, c.after); cut > 0 {
		return mid + cut
	}
	return 0
}

// gearScan rolls h over buf and returns how many bytes it took until h fell below limit (0: it never did), and h. Four
// bytes at a time: h waits for one shift and one addition then, and what the bytes add is summed beside it.
func gearScan(gear *[256]uint64, buf []byte, h, limit uint64) (int, uint64) {
	i := 0
	for ; i <= len(buf)-8; i += 8 {
		b := buf[i : i+8 : i+8] // of a capacity of its own: the compiler needs less to find its bytes
		one := gear[b[0]]
		two := one<<1 + gear[b[1]]
		three := two<<1 + gear[b[2]]
		four := three<<1 + gear[b[3]]
		if x := h<<1 + one; x < limit {
			return i + 1, x
		}
		if x := h<<2 + two; x < limit {
			return i + 2, x
		}
		if x := h<<3 + three; x < limit {
			return i + 3, x
		}
		if h = h<<4 + four; h < limit {
			return i + 4, h
		}
		one = gear[b[4]]
		two = one<<1 + gear[b[5]]
		three = two<<1 + gear[b[6]]
		four = three<<1 + gear[b[7]]
		if x := h<<1 + one; x < limit {
			return i + 5, x
		}
		if x := h<<2 + two; x < limit {
			return i + 6, x
		}
		if x := h<<3 + three; x < limit {
			return i + 7, x
		}
		if h = h<<4 + four; h < limit {
			return i + 8, h
		}
	}
	for ; i < len(buf); i++ {
		if h = h<<1 + gear[buf[i]]; h < limit {
			return i + 1, h
		}
	}
	return 0, h
}
