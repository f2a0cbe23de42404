// SPDX-License-Identifier: Apache-2.0

package version

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// Gone is a version of the owner that is removed, by a tombstone that was verified.
type Gone struct {
	key.Tombstone
	Envelope []byte
}

// OpenGone verifies a tombstone as the owner's.
func OpenGone(owner *key.Owner, envelope []byte) (g Gone, err error) {
	g.Envelope = envelope
	if g.Tombstone, err = key.OpenTombstone(envelope); err != nil {
		return g, core.Fail(core.CodeWrong, "%w", err)
	}
	if g.Owner != owner.ID() {
		return g, core.Fail(core.CodeWrong, "tombstone %s is of another owner", g.Alias)
	}
	return g, nil
}

// Live parts refs into those of versions that live, and those of versions that are removed.
func Live(refs []Found, gone []Gone) (live, dead []Found) {
	for _, r := range refs {
		if slices.ContainsFunc(gone, func(g Gone) bool { return g.Buries(r.Ref.Alias, r.Ref.Version, r.Content()) }) {
			dead = append(dead, r)
		} else {
			live = append(live, r)
		}
	}
	return live, dead
}
