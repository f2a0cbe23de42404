// SPDX-License-Identifier: Apache-2.0

package chunk

import (
	"fmt"
	"math/bits"

	"github.com/bkp-tool/bkp/core"
)

// The ways of cutting.
const (
	MethodCDC   = "cdc"   // by content
	MethodFixed = "fixed" // equal sizes: for block images
)

// MaxPlain bounds the plain bytes of a chunk, whatever it holds: no reader needs more memory than this to open one.
const MaxPlain = 16 << 20

// FixedSize is the default size of chunks cut at equal sizes.
const FixedSize = 128 << 10

// Params say where to cut. They are kept with the name of a file, so that its next version is cut alike.
type Params struct {
	Method        string
	Min, Avg, Max int // bytes; all equal for MethodFixed
}

// DefaultParams are the parameters for a file of the given size; for one of unknown size, pass -1.
func DefaultParams(method string, size core.Size) Params {
	if method == MethodFixed {
		return Params{Method: MethodFixed, Min: FixedSize, Avg: FixedSize, Max: FixedSize}
	}
	avg := 256 << 10
	switch {
	case size >= 4*core.TiB:
		avg = 4 << 20
	case size >= 256*core.GiB:
		avg = 1 << 20
	}
	return Params{Method: method, Min: avg / 4, Avg: avg, Max: 4 * avg}
}

// Check refuses parameters that Cutter cannot cut by.
func (p Params) Check() error {
	switch {
	case p.Method != MethodCDC && p.Method != MethodFixed:
		return fmt.Errorf("unknown chunker %q (have %s, %s)", p.Method, MethodCDC, MethodFixed)
	case p.Min <= 0 || p.Avg < p.Min || p.Max < p.Avg || p.Max > MaxPlain:
		return fmt.Errorf("chunk sizes %d, %d, %d: want 0 < min ≤ avg ≤ max ≤ %d", p.Min, p.Avg, p.Max, MaxPlain)
	case p.Method == MethodFixed && p.Min != p.Max:
		return fmt.Errorf("chunk sizes %d, %d, %d: fixed chunks have one size", p.Min, p.Avg, p.Max)
	case p.Method == MethodCDC && (bits.OnesCount(uint(p.Avg)) != 1 || p.Avg < 64):
		return fmt.Errorf("average chunk size %d: want a power of two from 64", p.Avg)
	}
	return nil
}
