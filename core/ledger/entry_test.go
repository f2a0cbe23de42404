// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/bkp-tool/bkp/core/key"
)

// What is scanned out of any bytes is what would be written, and nothing that was not there.
func FuzzScan(f *testing.F) {
	f.Add([]byte{}, int64(0))
	f.Add(appendRecord(appendRecord(nil, Entry{Index: 7, Kind: KindLicense, Envelope: []byte("a")}),
		Entry{Index: 8, Kind: KindReceipt, Envelope: []byte("bc")}), int64(7))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1}, int64(0))
	f.Fuzz(func(t *testing.T, data []byte, first int64) {
		s := newScanner(bytes.NewReader(data), first, 0, int64(len(data)))
		var again []byte
		for {
			e, err := s.scan()
			if err == io.EOF || errors.Is(err, errTorn) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			again = appendRecord(again, e)
		}
		if !bytes.Equal(again, data[:s.at]) {
			t.Errorf("scanned %x, written again %x", data[:s.at], again)
		}
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add(mark{SignedHead: key.SignHead(3, [32]byte{1}, node), bytes: 300}.encode())
	f.Add(make([]byte, markSize))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseMark(raw, nil)
		if err != nil {
			return
		}
		if m.Size < 0 || m.bytes < 0 || !bytes.Equal(m.encode(), raw) {
			t.Errorf("%+v from %x", m, raw)
		}
	})
}
