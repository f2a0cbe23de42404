package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// newest is the ref to go by: of the highest version, placed rather than not, and as it was placed last.
func newest(refs []foundRef) foundRef {
	return slices.MaxFunc(refs, func(a, b foundRef) int {
		return cmp.Or(cmp.Compare(a.Ref.Version, b.Ref.Version),
			cmp.Compare(min(len(a.Body.Records), 1), min(len(b.Body.Records), 1)),
			cmp.Compare(a.Ref.Placed, b.Ref.Placed))
	})
}

// created is when the content of a version was split, as far as these refs know: the earliest that an envelope of it
// tells, since those of version 1 tell when they were signed.
func created(of foundRef, refs []foundRef) int64 {
	at := of.Ref.Created
	for _, r := range refs {
		if r.sameContent(of) {
			at = min(at, r.Ref.Created)
		}
	}
	return at
}

// sameContent reports whether two refs are of one version of one name, and stand for the same bytes.
func (r foundRef) sameContent(o foundRef) bool {
	return r.Ref.Alias == o.Ref.Alias && r.Ref.Version == o.Ref.Version && r.content() == o.content()
}

// content is what Ref.Content says, also of a ref of version 1.
func (r foundRef) content() core.Hash { return r.Body.Root.Hash }

// inVersion1 is a ref as peers that know version 1 only are sent it; known is how it was read.
func inVersion1(r, known key.Ref) key.Ref {
	r.V, r.Prev = 1, core.Hash{} // without one no gap is seen behind it
	if known.V == 1 {
		r.Prev = known.Prev
	}
	return r
}

// previous is the content of the version before, for the ref's next envelope; zero where that is not known.
func previous(of foundRef, refs []foundRef) core.Hash {
	if of.Ref.V != 1 {
		return of.Ref.Prev
	}
	for _, r := range refs {
		if r.Ref.Alias == of.Ref.Alias && (r.Ref.Version == of.Ref.Version-1 ||
			key.RefHash(r.Envelope) == of.Ref.Prev) {
			return r.content()
		}
	}
	return core.Hash{}
}

// forked says who has another file under the number of a version: two machines of the owner split the name at once, or
// one was set back. It is empty where all agree.
func forked(chosen foundRef, refs []foundRef) string {
	var others []string
	for _, r := range refs {
		if r.Ref.Version != chosen.Ref.Version || r.sameContent(chosen) {
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
	return fmt.Sprintf("version %d stands for two files: the one of %s is taken, another is at %s; split one of them under another name",
		chosen.Ref.Version, time.Unix(chosen.Ref.Created, 0).Format(time.DateTime), strings.Join(others, ", "))
}

// gaps says which versions of a name a ref tells of that nobody has: those between it and the one that it follows. One
// of version 1 that was placed again since has another hash, so a number that is there counts as whatever its hash.
// That the oldest versions are gone is what prune is for.
func gaps(refs []foundRef) string {
	slices.SortFunc(refs, func(a, b foundRef) int { return cmp.Compare(a.Ref.Version, b.Ref.Version) })
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
		hashes = append(hashes, key.RefHash(r.Envelope), r.content())
	}
	if len(missing) == 0 {
		return ""
	}
	return "of its versions " + strings.Join(missing, ", ") +
		" are nowhere: removed, or at peers that are away or hide them"
}

// doubts is what the refs of a name contradict each other in.
func doubts(refs []foundRef) (out []string) {
	told := map[int]bool{}
	for _, r := range refs {
		if told[r.Ref.Version] {
			continue
		}
		told[r.Ref.Version] = true
		same := slices.DeleteFunc(slices.Clone(refs), func(o foundRef) bool { return o.Ref.Version != r.Ref.Version })
		out = append(out, forked(newest(same), same))
	}
	out = append(out, gaps(refs))
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// withheld names holders of the version that offered an older one as the newest.
func (f *fetching) withheld() string {
	var who []string
	for _, holders := range f.holders {
		for _, id := range holders {
			if v := f.offered[id]; v > 0 && v < f.version.Ref.Version && !slices.Contains(who, id.Short()) {
				who = append(who, id.Short())
			}
		}
	}
	if len(who) == 0 {
		return ""
	}
	return fmt.Sprintf("by its record version %d is also at %s: an older one is offered there as the newest",
		f.version.Ref.Version, strings.Join(who, ", "))
}
