// SPDX-License-Identifier: Apache-2.0

package key

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"filippo.io/age/armor"

	"github.com/bkp-tool/bkp/core"
)

func testOwner(t testing.TB) *Owner {
	data, err := os.ReadFile("testdata/owner.json")
	if err != nil {
		t.Fatal(err)
	}
	o, err := ParseOwner(data, "")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// quick is a work factor for tests, 2^10.
const quick = 10

func TestPassphrase(t *testing.T) {
	o := testOwner(t)
	sealed, err := o.marshal("correct horse", quick)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, passphrase string
		file             []byte
		want             error
	}{
		{"right", "correct horse", sealed, nil},
		{"wrong", "battery staple", sealed, ErrPassphrase},
		{"none", "", sealed, ErrPassphrase},
		{"right, with white space around the file", "correct horse", append([]byte("\n\n"), sealed...), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseOwner(tc.file, tc.passphrase)
			if !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if err == nil && (got.ID() != o.ID() || got.DedupSecret != o.DedupSecret) {
				t.Error("another owner came out")
			}
		})
	}
	if plain, _ := o.marshal("", quick); strings.Contains(string(plain), "AGE ENCRYPTED") {
		t.Error("sealed without a passphrase")
	}
}

// A file that bkp 1 wrote, with the passphrase "golden".
func TestPassphraseGolden(t *testing.T) {
	file, err := os.ReadFile("testdata/owner.age")
	if err != nil {
		t.Fatal(err)
	}
	if o, err := ParseOwner(file, "golden"); err != nil || o.ID() != testOwner(t).ID() {
		t.Errorf("%v, %v", o, err)
	}
}

func TestChangedFileUnderPassphraseIsRefused(t *testing.T) {
	sealed, err := testOwner(t).marshal("correct horse", quick)
	if err != nil {
		t.Fatal(err)
	}
	middle := len(sealed) / 2
	sealed[middle] ^= 1
	if _, err := ParseOwner(sealed, "correct horse"); err == nil {
		t.Error("accepted")
	}
}

// A file may not make us spend as much memory and time as it likes.
func TestWorkFactorIsBounded(t *testing.T) {
	sealed, err := testOwner(t).marshal("x", quick)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(armor.NewReader(bytes.NewReader(sealed))); err != nil {
		t.Fatal(err)
	}
	header, body, _ := bytes.Cut(text.Bytes(), []byte(" 10\n"))
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	w.Write(append(append(header, " 21\n"...), body...))
	w.Close()
	if _, err := ParseOwner(out.Bytes(), "x"); err == nil || !strings.Contains(err.Error(), "work factor") {
		t.Errorf("error %v, want one about the work factor", err)
	}
}

func TestMarshalWorksHardEnough(t *testing.T) {
	sealed, err := testOwner(t).Marshal("x")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	text.ReadFrom(armor.NewReader(bytes.NewReader(sealed)))
	if lines := strings.Split(text.String(), "\n"); !strings.HasSuffix(lines[1], " 17") {
		t.Errorf("scrypt line %q, want 2^17", lines[1])
	}
}

// inUTF16 is what a shell makes of text that writes UTF-16, with its byte order mark or without.
func inUTF16(text []byte, order binary.ByteOrder, mark bool) (out []byte) {
	if mark {
		text = append([]byte("\x00"), text...)
	}
	for i, b := range text {
		unit := uint16(b)
		if mark && i == 0 {
			unit = 0xfeff
		}
		out = append(out, 0, 0)
		order.PutUint16(out[len(out)-2:], unit)
	}
	return out
}

// What a redirect on Windows does to an identity is undone, and what cannot be is explained.
func TestIdentityThatAShellChanged(t *testing.T) {
	o := testOwner(t)
	plain, err := o.marshal("", quick)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := o.marshal("correct horse", quick)
	if err != nil {
		t.Fatal(err)
	}
	little, big := binary.LittleEndian, binary.BigEndian
	for _, file := range [][]byte{plain, sealed} {
		lines := bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n"))
		for name, changed := range map[string][]byte{
			"line ends": lines, "a byte order mark": append([]byte("\xef\xbb\xbf"), lines...),
			"UTF-16": inUTF16(lines, little, true), "UTF-16, the other way": inUTF16(lines, big, true),
			"UTF-16 without a mark": inUTF16(file, little, false), "the same, the other way": inUTF16(file, big, false),
		} {
			got, err := ParseOwner(changed, "correct horse")
			if err != nil || got.ID() != o.ID() {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
	}
	for name, tc := range map[string]struct {
		file []byte
		want string
	}{
		"cut short":          {inUTF16(plain, little, true)[:101], "UTF-16"},
		"other letters":      {inUTF16([]byte("{\xe9"), little, true), "UTF-16"},
		"no text":            {[]byte{0, 0, 0, 7}, "not an identity file"},
		"nothing":            {nil, "not an identity file"},
		"half of a mark":     {[]byte{0xff}, "not an identity file"},
		"two files in a row": {append(bytes.Clone(plain), plain...), "not an identity file"},
	} {
		if _, err := ParseOwner(tc.file, ""); err == nil || !strings.Contains(err.Error(), tc.want) ||
			core.HintOf(err) == "" {
			t.Errorf("%s: error %v with hint %q, want %q in it", name, err, core.HintOf(err), tc.want)
		}
	}
}
