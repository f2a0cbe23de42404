// SPDX-License-Identifier: Apache-2.0

package input

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/bkp-tool/bkp/core"
)

// sector is what dm-thin counts the size of a block in.
const sector = 512

// thinRanges reads what thin_delta of thin-provisioning-tools 0.9 prints of two snapshots, with --verbose or without:
//
//	<superblock … data_block_size="128" …>
//	  <diff left="1" right="2">
//	    <same begin="0" length="10"/>
//	    <different begin="10" length="5"/>
//
// left_only is what was mapped before and is a hole now. A list that ends early is an error: what it lacks would pass for
// what did not change.
func thinRanges(r io.Reader) ([]core.Range, error) {
	t := thin{decoder: xml.NewDecoder(r)}
	for {
		token, err := t.decoder.Token()
		switch {
		case err == io.EOF && t.diffs == 1:
			return t.list, nil
		case err == io.EOF:
			return nil, fmt.Errorf("%d diffs in what thin_delta printed, want one", t.diffs)
		case err != nil:
			return nil, err
		}
		if e, is := token.(xml.StartElement); is {
			if err := t.begin(e); err != nil {
				line, _ := t.decoder.InputPos()
				return nil, fmt.Errorf("line %d: <%s>: %w", line, e.Name.Local, err)
			}
		}
	}
}

type thin struct {
	decoder *xml.Decoder
	block   int64 // bytes
	diffs   int
	same    bool // the ranges that come did not change
	list    []core.Range
}

func (t *thin) begin(e xml.StartElement) (err error) {
	switch e.Name.Local {
	case "superblock":
		sectors, err := number(e, "data_block_size")
		if err == nil && (sectors <= 0 || sectors > math.MaxInt32) {
			err = fmt.Errorf("blocks of %d sectors", sectors)
		}
		t.block = sectors * sector
		return err
	case "diff":
		t.diffs++
		return nil
	case "same", "different", "left_only", "right_only":
		t.same = e.Name.Local == "same"
		if len(e.Attr) == 0 {
			return nil // ranges come in it
		}
	case "range":
	default:
		return errors.New("no word of thin_delta")
	}
	begin, err := number(e, "begin")
	length, lengthErr := number(e, "length")
	if err = errors.Join(err, lengthErr); err != nil || t.same {
		return err
	}
	if t.block == 0 || begin < 0 || length < 0 || begin > math.MaxInt64/t.block || length > math.MaxInt64/t.block {
		return fmt.Errorf("%d blocks of %d bytes at %d: no volume is as large", length, t.block, begin)
	}
	t.list, err = addRange(t.list, begin*t.block, length*t.block)
	return err
}

// number is an attribute of an element.
func number(e xml.StartElement, name string) (int64, error) {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return strconv.ParseInt(a.Value, 10, 64)
		}
	}
	return 0, fmt.Errorf("want %s", name)
}
