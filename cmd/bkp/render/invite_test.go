// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core/control"
)

// The command that a person copies stays on one line, however narrow the screen is.
func TestInviteIsCopiedWhole(t *testing.T) {
	var out bytes.Buffer
	table := &Table{w: &out, width: 40}
	code := "backup-server.example.org:8001/" + strings.Repeat("a", 55)
	Invited(table, control.InviteResult{Code: code, Invite: control.Invite{Uses: 1}})
	if first, _, _ := strings.Cut(out.String(), "\n"); first != "bkp join "+code {
		t.Errorf("the first line is %q", first)
	}
}
