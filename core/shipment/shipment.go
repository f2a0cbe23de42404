// SPDX-License-Identifier: Apache-2.0

package shipment

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/version"
)

// Name is what a shipment is for.
type Name struct {
	Node core.ID
	Task core.TaskID
}

const prefix = "bkp-shipment."

func (n Name) String() string { return prefix + n.Node.String() + "." + n.Task.String() }

// ParseName reads the name of a folder; ok is false where it is no shipment's.
func ParseName(folder string) (n Name, ok bool) {
	rest, is := strings.CutPrefix(folder, prefix)
	node, task, both := strings.Cut(rest, ".")
	id, err := core.ParseID(node)
	raw, hexErr := hex.DecodeString(task)
	if !is || !both || err != nil || hexErr != nil || len(raw) != len(n.Task) {
		return n, false
	}
	n = Name{Node: id, Task: core.TaskID(raw)}
	return n, n.String() == folder
}

const listSuffix = ".list"

// ListFile is the name of a segment's list in the folder.
func ListFile(segment int) string { return strconv.Itoa(segment) + listSuffix }

// RunsFolder is the name of what holds a segment's runs.
func RunsFolder(segment int) string { return strconv.Itoa(segment) }

// RunFile is the name of a run in there.
func RunFile(run int) string { return strconv.Itoa(run) }

// ParseListFile reads the name of a list.
func ParseListFile(name string) (segment int, ok bool) {
	digits, is := strings.CutSuffix(name, listSuffix)
	segment, err := strconv.Atoi(digits)
	return segment, is && err == nil && segment >= 0 && ListFile(segment) == name
}

// MaxList bounds the bytes of a list: a record has to be sealed as one chunk, too.
const MaxList = 20 * core.MiB

// List is what a list says, and its licence.
type List struct {
	version.Record
	License core.License
}

// Each calls visit for every run that the node is to keep.
func (l List) Each(visit func(run int)) {
	for _, span := range l.Spans {
		for run := span.Start; run < span.Start+span.Length; run++ {
			visit(run)
		}
	}
}

// Encode is the list of a segment: by is the source.
func Encode(n Name, r version.Record, by *key.Signer) ([]byte, error) {
	record, err := r.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode the list of segment %d: %w", r.Number, err)
	}
	signature := by.Sign(signed(n, record))
	return slices.Concat(record, by.Public(), signature), nil
}

// trailer takes the key and the signature off the end of a list, and returns what is before them and who signed it for
// this node: nobody where the signature does not fit. How long the key is nothing says: with each rotation it is longer.
func trailer(n Name, data []byte) (record []byte, signer core.ID) {
	end := len(data) - ed25519.SignatureSize
	for size := range core.PublicKeySizes() {
		if size >= end {
			return nil, signer
		}
		record, public := data[:end-size], data[end-size:end]
		k, err := core.ParsePublicKey(public)
		if err == nil && k.Verify(signed(n, record), data[end:]) {
			return record, key.IDOf(k)
		}
	}
	return nil, signer
}

// signed is what the source signs.
func signed(n Name, record []byte) []byte {
	return slices.Concat([]byte("bkp shipment v1\x00"), n.Node[:], record)
}

// Parse reads the list of a segment; anything but what the source of a signed licence wrote for that node is
// core.CodeWrong.
func Parse(n Name, segment int, data []byte) (l List, err error) {
	wrong := func(format string, args ...any) (List, error) {
		return List{}, core.Fail(core.CodeWrong, "the list of segment %d "+format, append([]any{segment}, args...)...)
	}
	if core.Size(len(data)) > MaxList {
		return wrong("has %d bytes", len(data))
	}
	record, source := trailer(n, data)
	if source.IsZero() {
		return wrong("is not signed by its source for this node")
	}
	if l.Record, err = version.Decode(record); err != nil {
		return wrong("cannot be read: %w", err)
	}
	if l.License, _, _, err = license.Open(l.Record.License); err != nil {
		return wrong("has no licence: %w", err)
	}
	switch {
	case source != l.Source:
		return wrong("is not signed by its source %s for this node", l.Source.Short())
	case l.Task != n.Task || l.Number != segment:
		return wrong("is of segment %d of task %s", l.Number, l.Task)
	case l.License.Task != n.Task || l.License.Segment != segment || l.License.TaskSource.Node != l.Source:
		return wrong("has the licence of another")
	case l.License.Alias == "":
		return wrong("has a licence that does not say of which version it is")
	case len(l.Runs) == 0 || len(l.Runs) > core.SegmentRuns || len(l.Stripes) > 0:
		return wrong("has %d runs and %d stripes", len(l.Runs), len(l.Stripes))
	case len(l.Spans) == 0:
		return wrong("has nothing for the node")
	}
	for i, span := range l.Spans {
		if span.Node != n.Node || i > 0 && span.Start < l.Spans[i-1].Start+l.Spans[i-1].Length {
			return wrong("has a span %d that is of another node, or out of order", i)
		}
	}
	fresh := func(r version.Run) bool { return r.Task == n.Task }
	reused := slices.IndexFunc(l.Runs, func(r version.Run) bool { return !fresh(r) })
	if reused >= 0 && slices.ContainsFunc(l.Runs[reused:], fresh) {
		return wrong("has new runs behind reused ones")
	}
	return l, nil
}
