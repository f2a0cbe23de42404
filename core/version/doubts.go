// SPDX-License-Identifier: Apache-2.0

package version

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// Forked says who has another file under the number of a version: two machines of the owner split the name at once, or
// one was set back. It is empty where all agree.
func Forked(chosen Found, refs []Found) string {
	var others []string
	for _, r := range refs {
		if r.Ref.Version != chosen.Ref.Version || r.SameContent(chosen) {
			continue
		}
		who := "this machine"
		if !r.At.IsZero() {
			who = r.At.Short()
		}
		if !slices.Contains(others, who) {
			others = append(others, who)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("version %d stands for two files: the one of %s is taken, another is at %s; "+
		"split one of them under another name",
		chosen.Ref.Version, time.Unix(chosen.Ref.Created, 0).Format(time.DateTime), strings.Join(others, ", "))
}

// gaps says which versions of a name a ref tells of that nobody has: those between it and the one that it follows. One
// of version 1 that was placed again since has another hash, so a number that is there counts as whatever its hash.
// That the oldest versions are gone is what prune is for.
func gaps(refs []Found) string {
	slices.SortFunc(refs, func(a, b Found) int { return cmp.Compare(a.Ref.Version, b.Ref.Version) })
	before, missing := 0, []string(nil)
	var hashes []core.Hash // that a Prev may name version before by
	for _, r := range refs {
		if v := r.Ref.Version; before > 0 && v > before+1 && !r.Ref.Prev.IsZero() &&
			!slices.Contains(hashes, r.Ref.Prev) {
			missing = append(missing, fmt.Sprintf("one or more of %d to %d", before+1, v-1))
		}
		if r.Ref.Version > before {
			before, hashes = r.Ref.Version, nil
		}
		hashes = append(hashes, key.RefHash(r.Envelope), r.Content())
	}
	if len(missing) == 0 {
		return ""
	}
	return "of its versions " + strings.Join(missing, ", ") +
		" are nowhere: removed, or at peers that are away or hide them"
}

// Doubts is what the refs of a name contradict each other in.
func Doubts(refs []Found) (out []string) {
	told := map[int]bool{}
	for _, r := range refs {
		if told[r.Ref.Version] {
			continue
		}
		told[r.Ref.Version] = true
		same := slices.DeleteFunc(slices.Clone(refs), func(o Found) bool { return o.Ref.Version != r.Ref.Version })
		out = append(out, Forked(Newest(same), same))
	}
	out = append(out, gaps(refs))
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}
