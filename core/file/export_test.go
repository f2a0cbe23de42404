// SPDX-License-Identifier: Apache-2.0

package file

// WithMarks cuts by marks, as with many cores.
func WithMarks(in SplitInput) SplitInput {
	in.marks = true
	return in
}
