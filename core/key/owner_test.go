// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"bytes"
	"crypto/rand"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

func TestOwnerFile(t *testing.T) {
	o := owner(t)
	golden(t, "owner.json", must[[]byte](t)(o.Marshal("")))
	if o.ID() != signer(1).ID() || !reflect.DeepEqual(o.Peers, []string{"ws://192.168.255.246:8001-102400"}) ||
		o.DedupSecret[31] != 9 {
		t.Errorf("%v %v %v", o.ID(), o.Peers, o.DedupSecret)
	}
}

// The file of an identity that may only write stays readable.
func TestWriterFile(t *testing.T) {
	o := owner(t)
	w := must[*key.Owner](t)(o.Writer(time.Unix(1_900_000_000, 0), bytes.NewReader(bytes.Repeat([]byte{5}, 32))))
	golden(t, "writer.json", must[[]byte](t)(w.Marshal("")))
	read := must[*key.Owner](t)(key.ParseOwner(read(t, "writer.json"), ""))
	if read.ID() != o.ID() || read.Node().ID() != signer(5).ID() || !reflect.DeepEqual(read.Peers, o.Peers) {
		t.Errorf("%v %v %v", read.ID(), read.Node().ID(), read.Peers)
	}
}

func TestNewOwner(t *testing.T) {
	a := must[*key.Owner](t)(key.NewOwner(rand.Reader))
	b := must[*key.Owner](t)(key.NewOwner(rand.Reader))
	if a.ID() == b.ID() || a.DedupSecret == b.DedupSecret || a.Recipient() == b.Recipient() ||
		a.DedupSecret == a.Signer().Seed() {
		t.Error("two owners share something")
	}
	again := must[*key.Owner](t)(key.ParseOwner(must[[]byte](t)(a.Marshal("")), ""))
	if again.ID() != a.ID() || again.DedupSecret != a.DedupSecret || again.Recipient() != a.Recipient() {
		t.Error("the file does not hold all of the owner")
	}
}

func TestAlias(t *testing.T) {
	o := owner(t)
	if got, want := o.Alias("big.iso"), aliasBigISO; got != want {
		t.Errorf("alias %s, want %s", got, want)
	}
	if o.Alias("big.iso") == o.Alias("Big.iso") {
		t.Error("two names, one alias")
	}
	other := must[*key.Owner](t)(key.NewOwner(rand.Reader))
	if o.Alias("big.iso") == other.Alias("big.iso") {
		t.Error("two owners, one alias")
	}
	if _, err := core.ParseID(o.Alias("")); err != nil {
		t.Error("not 52 characters of base32:", err)
	}
}

const aliasBigISO = "zhmeklyzi3pr3j3ylao3ygknoftfsnxsgs7ymlfqkxnvboeq6gpa"

func TestParseOwnerRefuses(t *testing.T) {
	good := string(read(t, "owner.json"))
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, tc := range []struct{ name, file, want string }{
		{"as it should be", good, ""},
		{"15 duplicate key", with(`"v": 1`, `"v": 1, "v": 1`), `"/v" stands there twice`},
		{"16 a name in capitals", with(`"peers"`, `"PEERS"`), `"/PEERS"`},
		{"17 trailing JSON", good + "{}", "malformed JSON"},
		{"another version", with(`"v": 1`, `"v": 2`), "version 2"},
		{"a short seed", with("AQEBAQEB", "AQEB"), `"/owner_seed"`},
		{"no dedup secret", with("CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=", strings.Repeat("A", 43)+"="),
			"missing"},
		{"no age identity", with("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-2"), "age_identity"},
		{"not JSON", "x", "malformed JSON"},
		{"too long", good + strings.Repeat(" ", 1<<20), "at most"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := key.ParseOwner([]byte(tc.file), "")
			wantError(t, err, tc.want)
			if err != nil && (strings.Contains(err.Error(), "AQEB") || strings.Contains(err.Error(), "CQkJ") ||
				strings.Contains(err.Error(), "SECRET-KEY-1E")) {
				t.Errorf("the error gives a secret away: %v", err)
			}
		})
	}
}

func FuzzParseOwner(f *testing.F) {
	f.Add(read(f, "owner.json"))
	f.Add(read(f, "writer.json"))
	f.Add(read(f, "owner.age"))
	f.Add([]byte("\xff\xfe{\x00}\x00"))
	f.Add([]byte("\x00{\x00}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		o, err := key.ParseOwner(file, "")
		if err != nil {
			return
		}
		written, err := o.Marshal("")
		if err != nil {
			t.Fatal(err)
		}
		if again, err := key.ParseOwner(written, ""); err != nil || again.ID() != o.ID() {
			t.Errorf("written and read again: %v", err)
		}
	})
}
