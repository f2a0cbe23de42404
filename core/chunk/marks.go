// SPDX-License-Identifier: Apache-2.0

package chunk

// Mark is a place where a chunk may end, whatever came before: the last 64 bytes decide alone whether h ends one there.
// So the parts of a large file can be marked by many goroutines at once, and one walks along the marks.
type Mark struct {
	End    int64 // the chunk would end before this byte of the content
	Strong bool  // may end a chunk that is shorter than avg
}

// Window is how many bytes decide over a mark.
const Window = 64

// crowd is how many bytes there must be to a mark, on the average. More marks are no help and might be as many as
// bytes.
const crowd = 64

// Marks appends the marks of buf[from:], where buf[from] is byte at of the content. buf must hold the Window bytes
// before from, or all that there are since the content began. It is not ok where they are too many, or where no bytes
// are looked at for cutting: then Next must look for itself.
func (c *Cutter) Marks(dst []Mark, buf []byte, from int, at int64) (marks []Mark, ok bool) {
	if c.fixed {
		return dst, false
	}
	_, h := gearScan(c.gear, buf[max(0, from-Window):from], 0, 0)
	room := len(dst) + (len(buf)-from)/crowd + 1
	for from < len(buf) {
		n, next := gearScan(c.gear, buf[from:], h, c.after)
		if n == 0 {
			break
		}
		if len(dst) == room {
			return dst, false
		}
		from, at, h = from+n, at+int64(n), next
		dst = append(dst, Mark{End: at, Strong: h < c.before})
	}
	return dst, true
}

// NextMarked is Next where buf[0] is byte at of the content and marks holds, in order, every mark from at to the end of
// buf.
func (c *Cutter) NextMarked(buf []byte, eof bool, at int64, marks []Mark) int {
	n := min(len(buf), c.max)
	if near := min(n, c.min+Window); near > c.min { // h has not seen a whole window yet
		if cut := c.scan(buf[:near]); cut > 0 {
			return cut
		}
	}
	for _, m := range marks {
		length := m.End - at
		if length > int64(n) {
			break
		}
		if length > int64(c.min+Window) && (m.Strong || length > int64(c.avg)) {
			return int(length)
		}
	}
	if n == c.max || eof {
		return n
	}
	return 0
}
