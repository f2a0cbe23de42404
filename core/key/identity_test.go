package key

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"filippo.io/age/armor"
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
