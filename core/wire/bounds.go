// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"math"

	"github.com/bkp-tool/bkp/core"
)

// What one message may hold. Whatever a peer counts, sizes or spells is held against these before anybody computes with
// it, so that no sum of a message's numbers overflows.
const (
	maxAmount  = 1 << 60   // bytes, or bytes per second
	maxSeconds = 1e9       // 30 years
	maxTime    = 1 << 40   // Unix seconds
	maxNumber  = 1<<31 - 1 // versions, segments, orders, positions
	maxText    = 4096      // words for people
	maxName    = 255       // names, addresses
	maxList    = 65536     // entries of a list without a bound of its own
	maxLabels  = 64        //
	maxProofs  = 64        // delegations
	maxSteps   = core.MaxForecast
	maxSigned  = 256 << 10 // a signed envelope
	maxPiece   = 2 << 20   // a piece of a record
	maxRecord  = 1 << 31   // a segment record
	maxRuns    = core.SegmentRuns
	maxWord    = 40 // the name of a feature
	maxToken   = 4 << 10
	maxProof   = 128     // hashes of a ledger's tree
	maxSlice   = 4 << 10 // of a BLAKE3 tree: 1 KiB and 64 bytes a level

	maxFeatures = 64

	maxCountersigned = 4 << 10 // as core/license has it

	// MaxReasons is how many reasons a node gives why it is degraded, and MaxReason how long one is.
	MaxReasons = 16
	MaxReason  = 255

	// MaxInvited is how many members a new one is told of; it meets the others through them.
	MaxInvited = 64

	// MaxRevoked is how many lists of revocations one message has.
	MaxRevoked = 64

	// MaxHeads is how many heads of ledgers one message has.
	MaxHeads = 256

	// MaxRunChunks bounds the chunks of a run, so that its TRANSMISSION_BEGIN fits in a message however small they are.
	MaxRunChunks = 32768
)

// bounds checks the fields of one message and keeps the first that is out of bounds.
type bounds struct{ err error }

func (b *bounds) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

func (b *bounds) must(ok bool, format string, args ...any) {
	if !ok {
		b.fail(format, args...)
	}
}

func (b *bounds) within(field string, n, low, high int64) {
	if n < low || n > high { // no call of must, whose arguments cost memory also where all is well
		b.fail("%s %d is not within %d to %d", field, n, low, high)
	}
}

func (b *bounds) size(field string, s core.Size) { b.within(field, int64(s), 0, maxAmount) }

func (b *bounds) number(field string, n int) { b.within(field, int64(n), 0, maxNumber) }

// lease is a rate that somebody asks for or grants; capacity is one that may be 0 for unlimited or unknown.
func (b *bounds) lease(field string, r core.Rate)    { b.within(field, int64(r), 1, maxAmount) }
func (b *bounds) capacity(field string, r core.Rate) { b.within(field, int64(r), 0, maxAmount) }

func (b *bounds) seconds(field string, s float64) {
	b.must(s >= 0 && s <= maxSeconds, "%s %v is not within 0 to %v seconds", field, s, float64(maxSeconds))
}

func (b *bounds) finite(field string, f float64) {
	if !(f >= 0) || math.IsInf(f, 0) {
		b.fail("%s %v is not a finite number from 0", field, f)
	}
}

func (b *bounds) count(field string, n, high int) {
	b.must(n <= high, "%s has %d entries, %d are allowed", field, n, high)
}

func (b *bounds) bytes(field string, data []byte, low, high int) {
	if len(data) < low || len(data) > high {
		b.fail("%s has %d bytes, not %d to %d", field, len(data), low, high)
	}
}

func (b *bounds) text(field, s string, high int) {
	if len(s) > high {
		b.fail("%s has %d bytes, %d are allowed", field, len(s), high)
	}
}

func (b *bounds) id(field string, id core.ID) {
	if id.IsZero() {
		b.fail("%s is missing", field)
	}
}

func (b *bounds) task(task core.TaskID) { b.must(!task.IsZero(), "task is missing") }

func (b *bounds) version(v int) { b.within("version", int64(v), 1, maxNumber) }

// word is a name that may become part of a path: letters, digits, dot, dash and underscore, with no dot in front.
func (b *bounds) word(field, s string) {
	if s == "" {
		b.fail("%s is missing", field)
	}
	b.text(field, s, maxName)
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' &&
			i > 0 {
			continue
		}
		b.fail("%s holds character %q", field, c)
		return
	}
}

func (b *bounds) labels(labels map[string]string) {
	b.count("labels", len(labels), maxLabels)
	for k, v := range labels {
		if k == "" || len(k) > maxName || len(v) > maxName {
			b.fail("label %.40q: its name has %d bytes, its value %d; 1 to %d and 0 to %d are allowed", k, len(k),
				len(v), maxName, maxName)
		}
	}
}

// forecast is rates from now on, each later than the one before it, within a week.
func (b *bounds) forecast(field string, f core.Forecast) {
	b.count(field, len(f), core.MaxForecast)
	for i, c := range f {
		b.capacity(field+": rate", c.Rate)
		b.within(field+": after_s", c.After, 0, int64(core.ForecastSpan.Seconds())-1)
		b.must((i == 0) == (c.After == 0) && (i == 0 || c.After > f[i-1].After),
			"%s: step %d does not follow the one before it", field, i)
		if b.err != nil {
			return
		}
	}
}

func (b *bounds) reason(code core.Reason, reason string) {
	b.within("code", int64(code), 0, 999)
	b.text("reason", reason, maxText)
}

// refusal is a reason that must say something.
func (b *bounds) refusal(code core.Reason, reason string) {
	b.reason(code, reason)
	b.must(code != core.ReasonNone, "code is missing")
}

// ranges are ascending run numbers that neither touch beyond a segment nor overlap.
func (b *bounds) ranges(field string, ranges []core.Range) {
	b.count(field, len(ranges), maxRuns)
	next := 0
	for _, r := range ranges {
		if r.Length < 1 || r.Length > maxRuns || r.Start < next || r.Start > maxRuns-r.Length {
			b.fail("%s: start %d, length %d overlaps, runs backwards or leaves the segment's %d runs", field, r.Start,
				r.Length, maxRuns)
			return
		}
		next = r.Start + r.Length
	}
}

func (b *bounds) file(field string, f core.File) {
	var of bounds
	of.word("name", f.Name)
	if f.Type != core.TypeFile && f.Type != core.TypeDirectory && f.Type != core.TypeParity {
		of.fail("type %.40q is neither file nor directory nor parity", f.Type)
	}
	of.number("order", f.Order)
	of.within("size", int64(f.Size), 1, maxAmount)
	if of.err != nil {
		b.fail("%s: %w", field, of.err)
	}
}

func (b *bounds) chunks(field string, chunks []core.Chunk, largest core.Size) (sum core.Size) {
	b.count(field, len(chunks), MaxRunChunks)
	for i, c := range chunks {
		if c.Size < 1 || c.Size > largest {
			b.fail("%s: chunk %d of %d bytes, not 1 to %d", field, i, c.Size, largest)
			return 0
		}
		sum += c.Size
	}
	return sum
}
