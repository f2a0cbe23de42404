// SPDX-License-Identifier: Apache-2.0

package version

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// Found is a ref of the owner that was verified and opened, and who has it.
type Found struct {
	Ref      key.Ref
	Body     key.RefBody
	Envelope []byte
	At       core.ID    // the peer; zero for this machine
	Location core.Chunk // that the peer has beside it: see LocationAt; none where Size is 0
	Away     bool       // of this machine's own: it does without the content, since peers keep it
}

// Open verifies an envelope as the owner's and opens its body.
func Open(owner *key.Owner, envelope []byte) (f Found, err error) {
	f.Envelope = envelope
	if f.Ref, err = key.OpenRef(envelope); err != nil {
		return f, core.Fail(core.CodeWrong, "%w", err)
	}
	if f.Ref.Owner != owner.ID() {
		return f, core.Fail(core.CodeWrong, "ref %s is of another owner", f.Ref.Alias)
	}
	if f.Body, err = owner.OpenRefBody(f.Ref); err != nil {
		return f, fmt.Errorf("ref %s: %w", f.Ref.Alias, err)
	}
	return f, nil
}

// Newest is the ref to go by: of the highest version, placed rather than not, and as it was placed last.
func Newest(refs []Found) Found {
	return slices.MaxFunc(refs, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.Ref.Version, b.Ref.Version),
			cmp.Compare(min(len(a.Body.Records), 1), min(len(b.Body.Records), 1)),
			cmp.Compare(a.Ref.Placed, b.Ref.Placed))
	})
}

// Created is when the content of a version was split, as far as these refs know: the earliest that an envelope of it
// tells, since those of version 1 tell when they were signed.
func Created(of Found, refs []Found) int64 {
	at := of.Ref.Created
	for _, r := range refs {
		if r.SameContent(of) {
			at = min(at, r.Ref.Created)
		}
	}
	return at
}

// SameContent reports whether two refs are of one version of one name, and stand for the same bytes.
func (r Found) SameContent(o Found) bool {
	return r.Ref.Alias == o.Ref.Alias && r.Ref.Version == o.Ref.Version && r.Content() == o.Content()
}

// Content is what Ref.Content says, also of a ref of version 1.
func (r Found) Content() core.Hash { return r.Body.Root.Hash }

// InVersion1 is a ref as peers that know version 1 only are sent it; known is how it was read.
func InVersion1(r, known key.Ref) key.Ref {
	r.V, r.Prev = 1, core.Hash{} // without one no gap is seen behind it
	if known.V == 1 {
		r.Prev = known.Prev
	}
	return r
}

// Previous is the content of the version before, for the ref's next envelope; zero where that is not known.
func Previous(of Found, refs []Found) core.Hash {
	if of.Ref.V != 1 {
		return of.Ref.Prev
	}
	for _, r := range refs {
		if r.Ref.Alias == of.Ref.Alias && (r.Ref.Version == of.Ref.Version-1 ||
			key.RefHash(r.Envelope) == of.Ref.Prev) {
			return r.Content()
		}
	}
	return core.Hash{}
}
