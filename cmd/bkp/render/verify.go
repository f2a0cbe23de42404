// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
)

// VerifiedVersion is what a verification found of a version.
type VerifiedVersion struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	file.Verified
	Elsewhere *control.VerifyResult `json:"elsewhere,omitempty"` // what the peers that keep it were asked
	Problem   string                `json:"problem,omitempty"`   // why they could not be
}

// Verification is what a verification came to.
type Verification struct {
	Versions int           `json:"versions"`
	Packs    int           `json:"packs"`
	Read     core.Size     `json:"read_bytes"`    // stored
	Missing  core.Size     `json:"missing_bytes"` // of the files
	Wrong    core.Size     `json:"wrong_bytes"`   // of the files
	Damage   []PackDamage  `json:"damage,omitempty"`
	Records  []core.Damage `json:"records,omitempty"` // of what is kept for others, where they disagree
}

// PackDamage is damage in a pack of one of the two stores.
type PackDamage struct {
	Store string `json:"store"`
	check.Damage
}

// Draw shows a line a version, a line a peer that keeps some of it, and every damaged stretch.
func (s Verification) Draw(t *Table, rows []VerifiedVersion) {
	if len(rows) > 0 {
		t.Header("version", "chunks", "read", "not here", "wrong here", "at peers")
		t.Below("at peers")
		t.Spare("read", "chunks")
	}
	for _, x := range rows {
		t.Row(Versioned(x.Name, x.Version), x.Chunks, x.Read, x.Missing, x.Wrong, elsewhereText(x))
	}
	for _, x := range rows {
		if x.Elsewhere != nil {
			drawTargets(t, Versioned(x.Name, x.Version), x.Elsewhere)
		}
	}
	for _, x := range rows {
		for _, h := range x.Damaged {
			t.Line("%s: bytes %d-%d %s: %s", Versioned(x.Name, x.Version), h.Start, h.Start+h.Length, damagedWhere(h),
				h.Reason)
		}
	}
	for _, d := range s.Records {
		t.Line("%s", d.Text)
	}
	for _, d := range s.Damage {
		t.Line("%s/%s at %d: %s", d.Store, d.File, d.Offset, d.Reason)
	}
	t.Line("%s and %s verified, %s read, %s missing, %s wrong", Counted(s.Versions, "version"),
		Counted(s.Packs, "pack"), s.Read, s.Missing, s.Wrong)
}

func elsewhereText(x VerifiedVersion) string {
	switch {
	case x.Problem != "":
		return x.Problem
	case x.Elsewhere == nil:
		return "-"
	}
	return fmt.Sprintf("%s of %s, kept %d times", Counted(x.Elsewhere.Chunks, "chunk"), x.Elsewhere.Bytes,
		x.Elsewhere.Copies)
}

func drawTargets(t *Table, name string, r *control.VerifyResult) {
	t.Line("")
	t.Line("%s at peers:", name)
	t.Header("peer", "address", "runs", "kept", "bytes", "problem")
	t.Below("problem")
	t.Spare("kept")
	for _, h := range r.Holders {
		t.Row(h.Node, h.Address, h.Runs, h.Kept, h.Bytes, h.Problem)
	}
}

func damagedWhere(h core.Damaged) string {
	word := "missing"
	if h.Wrong {
		word = "wrong"
	}
	if h.Node.IsZero() {
		return word
	}
	return word + " at " + h.Node.Short()
}
