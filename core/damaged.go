// SPDX-License-Identifier: Apache-2.0

package core

// Damaged is a stretch of a file that cannot be had from somewhere.
type Damaged struct {
	Start  Size   `json:"start"`
	Length Size   `json:"length"`
	Chunk  Hash   `json:"chunk"`
	Node   ID     `json:"node,omitzero"` // zero: this machine
	Wrong  bool   `json:"wrong"`         // there are bytes, and they are wrong; else there are none
	Reason string `json:"reason"`
}

// Follows reports whether h begins where before ends and is damaged alike, whatever the chunk.
func (h Damaged) Follows(before Damaged) bool {
	return before.Start+before.Length == h.Start && before.Node == h.Node && !before.Wrong && !h.Wrong &&
		before.Reason == h.Reason
}
