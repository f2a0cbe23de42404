// SPDX-License-Identifier: Apache-2.0

package license_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

func anAudited() core.Audited {
	return core.Audited{Owner: core.ID{1}, Task: core.TaskID{1}, Since: 1_800_000_000, Time: 1_800_086_400, Proved: 2,
		Failed: 1, Target: core.ID{2}, Note: "run 3 is not there"}
}

func TestAudited(t *testing.T) {
	envelope, err := license.SignAudited(anAudited(), target)
	if err != nil {
		t.Fatal(err)
	}
	a, err := license.OpenAudited(envelope)
	if err != nil || a.Node != target.ID() || a.Proved != 2 || a.Failed != 1 || a.Target != (core.ID{2}) {
		t.Errorf("%+v, %v", a, err)
	}
	for at := range envelope {
		bad := bytes.Clone(envelope)
		bad[at] ^= 1
		if got, err := license.OpenAudited(bad); err == nil && got.Node != target.ID() {
			t.Fatalf("with byte %d flipped it is the word of %s", at, got.Node)
		}
	}
	for words, spoil := range map[string]func(a *core.Audited){
		"owner or task": func(a *core.Audited) { a.Task = core.TaskID{} },
		"0, 0 and 0":    func(a *core.Audited) { a.Proved, a.Failed = 0, 0 },
		"-1, 0 and 1":   func(a *core.Audited) { a.Proved = -1 },
		"in this order": func(a *core.Audited) { a.Time = a.Since - 1 },
	} {
		a := anAudited()
		spoil(&a)
		if _, err := license.SignAudited(a, target); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}
