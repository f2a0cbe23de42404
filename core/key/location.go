// SPDX-License-Identifier: Apache-2.0

package key

import (
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// LocationType is the payload type of a location.
const LocationType = "application/vnd.bkp.location.v1+cbor"

// Location is a coordinator's word on who keeps which runs of a version. It is in clear, as what its targets are told
// is; of several the highest (Term, Seq) counts. Who fetches goes by it beside the records, which a coordinator cannot
// write.
type Location struct {
	Owner      core.ID
	Alias      string
	Version    int
	Task       core.TaskID // by which they keep it
	Term       int
	Seq        int
	Segments   [][]core.Span // From says nothing
	Delegation []byte        // the owner's, to the coordinator
	Node       core.ID       // the coordinator
}

// location is the payload: nodes by their place in a list, since a segment has up to 4096 runs.
type location struct {
	V          int         `cbor:"v"` // 1
	Owner      core.ID     `cbor:"owner"`
	Alias      string      `cbor:"alias"`
	Version    int         `cbor:"version"`
	Task       core.TaskID `cbor:"task"`
	Term       int         `cbor:"term"`
	Seq        int         `cbor:"seq"`
	Nodes      []core.ID   `cbor:"nodes"`
	Segments   [][]int     `cbor:"segments"` // node, start, length; node, …
	Delegation []byte      `cbor:"delegation"`
	Key        []byte      `cbor:"key"`
}

// SignLocation signs l as its coordinator, by its Delegation.
func (s *Signer) SignLocation(l Location) ([]byte, error) {
	x := location{V: 1, Owner: l.Owner, Alias: l.Alias, Version: l.Version, Task: l.Task, Term: l.Term, Seq: l.Seq,
		Nodes: []core.ID{}, Segments: [][]int{}, Delegation: l.Delegation, Key: s.Public()}
	for _, spans := range l.Segments {
		row := []int{}
		for _, span := range spans {
			at := slices.Index(x.Nodes, span.Node)
			if at < 0 {
				at = len(x.Nodes)
				x.Nodes = append(x.Nodes, span.Node)
			}
			row = append(row, at, span.Start, span.Length)
		}
		x.Segments = append(x.Segments, row)
	}
	payload, err := cborEncode(x)
	if err == nil {
		_, err = x.open()
	}
	if err != nil {
		return nil, fmt.Errorf("sign location of %s.%d: %w", l.Alias, l.Version, err)
	}
	return s.Envelope(LocationType, payload)
}

// OpenLocation returns a location that a delegate to keep its version really signed.
func OpenLocation(envelope []byte) (l Location, err error) {
	var x location
	_, err = OpenEnvelope(envelope, LocationType, func(payload []byte) ([]byte, error) {
		err := cborDecode(payload, &x)
		return x.Key, err
	})
	if err == nil {
		l, err = x.open()
	}
	if err != nil {
		return Location{}, fmt.Errorf("location: %w", err)
	}
	return l, nil
}

func (x location) open() (l Location, err error) {
	l = Location{Owner: x.Owner, Alias: x.Alias, Version: x.Version, Task: x.Task, Term: x.Term, Seq: x.Seq,
		Delegation: x.Delegation, Node: IDOf(x.Key)}
	if x.V != 1 {
		return l, fmt.Errorf("version %d is not known here", x.V)
	}
	if x.Version < 1 || x.Task.IsZero() || x.Seq < 0 {
		return l, fmt.Errorf("version %d, or a task or number is missing", x.Version)
	}
	d, err := OpenDelegation(x.Delegation)
	if err == nil {
		err = d.Keeps(l.Node, l.Alias, l.Version, time.Unix(d.Expires, 0))
	}
	if err == nil && (d.Owner != l.Owner || d.Term != l.Term) {
		err = fmt.Errorf("its delegation is of %s, term %d", d.Owner, d.Term)
	}
	if err != nil {
		return l, err
	}
	for number, row := range x.Segments {
		var spans []core.Span
		for ; len(row) >= 3; row = row[3:] {
			if row[0] < 0 || row[0] >= len(x.Nodes) || row[1] < 0 || row[2] < 1 || row[2] > core.SegmentRuns ||
				row[1] > core.SegmentRuns-row[2] {
				return l, fmt.Errorf("segment %d: %v is no span", number, row[:3])
			}
			spans = append(spans, core.Span{Node: x.Nodes[row[0]], Start: row[1], Length: row[2]})
		}
		if len(row) > 0 {
			return l, fmt.Errorf("segment %d: %v is no span", number, row)
		}
		l.Segments = append(l.Segments, spans)
	}
	return l, nil
}

// After reports whether a location counts more than another of its version.
func (l Location) After(other Location) bool {
	return l.Term > other.Term || l.Term == other.Term && l.Seq > other.Seq
}

// Copies is how many nodes but one are said to keep a run.
func (l Location) Copies(segment, run int, but core.ID) (copies int) {
	if segment >= len(l.Segments) {
		return 0
	}
	var seen []core.ID
	for _, s := range l.Segments[segment] {
		if run >= s.Start && run < s.Start+s.Length && s.Node != but && !slices.Contains(seen, s.Node) {
			seen = append(seen, s.Node)
		}
	}
	return len(seen)
}
