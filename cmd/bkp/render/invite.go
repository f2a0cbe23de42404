// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Invited shows a new invite: the command for the new machine stands on a line of its own.
func Invited(t *Table, r control.InviteResult) {
	t.Whole("bkp join " + r.Code)
	t.Line("")
	t.Line("On %s, until %s; then: bkp node start", newMachines(r.Invite.Uses), moment(r.Invite.Expires))
	for _, term := range terms(r.Invite) {
		t.Line("%s", term)
	}
	t.Line("Whoever has the code may join. Take it back: bkp invite --revoke %s", r.Invite.Name.String()[:8])
	if at, _, _ := strings.Cut(r.Code, "/"); strings.HasPrefix(at, "127.") || strings.HasPrefix(at, "[::1]") {
		t.Line("Only this machine reaches %s: for others say --address HOST:PORT", at)
	}
}

func newMachines(n int) string {
	if n == 1 {
		return "one new machine"
	}
	return fmt.Sprintf("up to %d new machines", n)
}

func terms(i control.Invite) (words []string) {
	if len(i.Labels) > 0 {
		words = append(words, "labels: "+core.Printable(labelText(i.Labels)))
	}
	if i.Quota > 0 {
		words = append(words, "quota: "+i.Quota.String())
	}
	return words
}

// Invites lists invites, and the nodes that came by them.
func Invites(t *Table, invites []control.Invite) {
	if len(invites) == 0 {
		t.Line("no invites: bkp invite makes one")
		return
	}
	t.Header("name", "uses", "until", "state", "labels", "quota", "came")
	for _, i := range invites {
		var came []string
		for _, g := range i.Came {
			came = append(came, g.Node.Short())
		}
		state := strings.TrimPrefix(strings.TrimPrefix(i.State, "the invite is "), "the invite was ")
		if strings.HasPrefix(i.State, "the invite expired") {
			state = "expired"
		}
		t.Row(i.Name.String()[:8], fmt.Sprintf("%d of %d", len(i.Came), i.Uses), moment(i.Expires),
			state, core.Printable(labelText(i.Labels)), quotaText(i.Quota), strings.Join(came, " "))
	}
}

func quotaText(quota core.Size) string {
	if quota == 0 {
		return "-"
	}
	return quota.String()
}

// moment is a time as it is written for people: this machine's, to the minute.
func moment(unix int64) string { return time.Unix(unix, 0).Format("2006-01-02 15:04") }
