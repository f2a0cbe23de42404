// SPDX-License-Identifier: Apache-2.0

package version

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Pick is the version that is meant: of a name the latest, or the one with that number; without a name the newest that
// lacks copies, as far as they count.
func Pick(refs []Found, name string, number int, short func(Found) bool) (Found, error) {
	refs = slices.DeleteFunc(slices.Clone(refs), func(r Found) bool {
		return number != 0 && r.Ref.Version != number || name == "" && !short(r)
	})
	switch {
	case len(refs) > 0 && name == "":
		return slices.MaxFunc(refs, func(a, b Found) int {
			return cmp.Or(cmp.Compare(a.Ref.Created, b.Ref.Created), cmp.Compare(a.Ref.Version, b.Ref.Version))
		}), nil
	case len(refs) > 0:
		return Newest(refs), nil
	case name == "":
		return Found{}, core.WithHint(core.Fail(core.CodeNoName, "there is no version that is not placed yet"),
			"bkp split FILE first, or name a version to place again: bkp place NAME")
	}
	return Found{}, NotHere(number)
}

// NotHere is the error where this machine has no version of a name, or not the one with that number.
func NotHere(number int) error {
	which := ""
	if number != 0 {
		which = fmt.Sprintf(" %d", number)
	}
	return core.WithHint(core.Fail(core.CodeNoName, "there is no version%s of it on this machine", which),
		"bkp ls lists what there is")
}
