// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// Versions of five days that were all placed again today are still of five days.
func TestPruneOfWhatWasPlacedAgain(t *testing.T) {
	o, h, now := drawOwner(t), datadir.Dir(t.TempDir()), time.Now()
	text, err := o.Marshal("")
	if err != nil {
		t.Fatal(err)
	}
	if err := durable.New(h.Path("identity"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	for v := 1; v <= 5; v++ {
		root := core.Sealed{Hash: core.Hash{byte(v)}}
		r := key.Ref{Version: v, Created: now.AddDate(0, 0, v-10).Unix(), Placed: now.Unix()}
		envelope, err := o.SealRef(r, key.RefBody{Name: "f", Root: root, Records: []core.Sealed{root}})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Refs().Put(o.Alias("f"), v, envelope); err != nil {
			t.Fatal(err)
		}
	}
	for days, want := range map[string]string{"7": `"kept":5,"removed":0`, "3": `"kept":3,"removed":0`} {
		var out, errs bytes.Buffer
		code := run([]string{"bkp", "prune", "--keep-daily", days, "--dry-run", "--json", "--data", string(h)}, nil,
			&out,
			&errs)
		if code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("--keep-daily %s ended with %d\n%s%s", days, code, &out, &errs)
		}
	}
}
