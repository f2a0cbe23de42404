// SPDX-License-Identifier: Apache-2.0

package input

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// mostRanges bounds what a list may cost in memory: 10 TiB that changed at every mebibyte.
const mostRanges = 10 << 20

// ParseRanges reads the ranges of a file that changed: a JSON array of {"offset": BYTES, "length": BYTES}, as rbd diff
// --format json prints it, what thin_delta prints of two snapshots of a thin volume, or lines of OFFSET LENGTH, in bytes.
// Lines that begin with # are left out.
func ParseRanges(r io.Reader) ([]core.Range, error) {
	in := bufio.NewReader(r)
	for {
		first, err := in.Peek(1)
		switch {
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return nil, err
		case first[0] == '[':
			return jsonRanges(in)
		case first[0] == '<':
			return thinRanges(in)
		case !strings.ContainsRune(" \t\r\n", rune(first[0])):
			return lineRanges(in)
		}
		_, _ = in.Discard(1)
	}
}

// jsonRange is a range as programs print it.
type jsonRange struct {
	Offset *core.Size `json:"offset"`
	Length *core.Size `json:"length"`
	Exists any        `json:"exists"` // of rbd: whether it has content now
}

func jsonRanges(r io.Reader) (list []core.Range, err error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if _, err = d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		var x jsonRange
		if err := d.Decode(&x); err != nil {
			return nil, fmt.Errorf("range %d: %w", len(list), err)
		}
		if x.Offset == nil || x.Length == nil {
			return nil, fmt.Errorf("range %d: want offset and length", len(list))
		}
		if list, err = addRange(list, int64(*x.Offset), int64(*x.Length)); err != nil {
			return nil, fmt.Errorf("range %d: %w", len(list), err)
		}
	}
	if _, err = d.Token(); err != nil {
		return nil, err
	}
	if _, err = d.Token(); err != io.EOF {
		return nil, errors.New("something follows the array")
	}
	return list, nil
}

func lineRanges(r io.Reader) (list []core.Range, err error) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("line %d: want OFFSET LENGTH", n)
		}
		offset, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		length, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if list, err = addRange(list, offset, length); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return list, lines.Err()
}

func addRange(list []core.Range, offset, length int64) ([]core.Range, error) {
	switch {
	case offset < 0 || length < 0:
		return list, fmt.Errorf("%d bytes at %d: neither may be less than 0", length, offset)
	case offset > math.MaxInt64-length:
		return list, fmt.Errorf("%d bytes at %d: no file is as large", length, offset)
	case len(list) == mostRanges:
		return list, fmt.Errorf("more than %d ranges: join those that lie near to each other", mostRanges)
	}
	return append(list, core.Range{Start: int(offset), Length: int(length)}), nil
}
