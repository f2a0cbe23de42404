package core

// Hurt is a stretch of a file that cannot be had from somewhere.
type Hurt struct {
	Start  Size   `json:"start"`
	Length Size   `json:"length"`
	Chunk  Hash   `json:"chunk"`
	Node   ID     `json:"node,omitzero"` // zero: this machine
	Wrong  bool   `json:"wrong"`         // there are bytes, and they are wrong; else there are none
	Reason string `json:"reason"`
}

// Follows reports whether h begins where before ends and is hurt alike, whatever the chunk.
func (h Hurt) Follows(before Hurt) bool {
	return before.Start+before.Length == h.Start && before.Node == h.Node && !before.Wrong && !h.Wrong &&
		before.Reason == h.Reason
}
