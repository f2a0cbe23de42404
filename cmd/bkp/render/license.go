// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// SignedLicense is a licence's payload and who signed it.
type SignedLicense struct {
	core.License
	Signer    core.ID `json:"signer"`
	Signature []byte  `json:"signature"`
}

// License shows what a licence allows whom.
func License(t *Table, l SignedLicense) {
	t.Line("licence    %s", l.ID)
	t.Line("task       %s, segment %d", l.Task, l.Segment)
	t.Line("owner      %s", l.TaskSource.Owner)
	t.Line("source     %s", l.TaskSource.Node)
	t.Line("signed by  %s", l.Signer)
	for _, who := range []struct {
		role string
		ids  []core.ID
	}{{"targets", l.Targets}, {"spares", l.Spares}, {"carriers", l.Carriers}} {
		if len(who.ids) > 0 {
			t.Line("%-9s  %s", who.role, idList(who.ids))
		}
	}
	t.Line("allows     %s of at most %s and %s at each target", l.Op, l.MaxBytes, Counted(l.MaxRuns, "run"))
	t.Line("valid      %s to %s, to be kept until %s", Day(l.NotBefore), Day(l.Expires), Day(l.RetainUntil))
}

// Permit shows what an issuer lets an owner store.
func Permit(t *Table, p core.Permit) {
	t.Line("permit     %s", p.ID)
	t.Line("issuer     %s", p.Issuer)
	t.Line("owner      %s", p.Owner)
	t.Line("nodes      %s", PermitNodes(p))
	t.Line("allows     %s at each", p.MaxBytes)
	if p.KeepAtMost > 0 {
		t.Line("keeps      nothing for more than %d days", p.KeepAtMost/(24*60*60))
	}
	t.Line("valid      %s to %s", Day(p.NotBefore), Day(p.Expires))
}

// PermitNodes is where a permit is for.
func PermitNodes(p core.Permit) string {
	if len(p.Nodes) == 0 {
		return "all that serve its issuer"
	}
	return idList(p.Nodes)
}

func idList(ids []core.ID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = id.String()
	}
	return strings.Join(words, ", ")
}
