// SPDX-License-Identifier: Apache-2.0

package spread

import "math/bits"

// set is a set of run numbers, 64 to a word.
type set []uint64

func newSet(n int) set { return make(set, (n+63)/64) }

func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) drop(i int)     { s[i/64] &^= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s set) empty() bool {
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

// all calls f with every member, in order.
func (s set) all(f func(i int)) {
	for k, w := range s {
		for ; w != 0; w &= w - 1 {
			f(k*64 + bits.TrailingZeros64(w))
		}
	}
}

// from is the first member at or after i, around the end; −1 in an empty set.
func (s set) from(i int) int {
	word := i / 64
	if w := s[word] >> (i % 64); w != 0 {
		return i + bits.TrailingZeros64(w)
	}
	for k := 1; k <= len(s); k++ {
		at := (word + k) % len(s)
		if w := s[at]; w != 0 {
			return at*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// meets reports whether two sets of the same runs have one in common.
func meets(a, b set) bool {
	for k, w := range a {
		if w&b[k] != 0 {
			return true
		}
	}
	return false
}
