// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"strings"

	"github.com/bkp-tool/bkp/core/staging"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/version"
)

// here is the chunks on this machine: staged, or kept for others.
func (n *Node) here() storage.Either { return storage.Either{First: n.Staging, Second: n.Keeping} }

// ownVersions is the owner's versions here and at peers, as rooms see them that act for this node. Never on the loop.
type ownVersions struct {
	*staging.Versions
	n *Node
}

// At asks every connected peer for the versions of an alias that it knows, or for all of the owner's where alias is
// empty. Each envelope is verified; peers that fail are skipped and named in problems.
func (v ownVersions) At(ctx context.Context, alias string, number int) (found []version.Found, problems []string) {
	n := v.n
	peers := asker{n}.Connected()
	ctx, cancel := context.WithTimeout(ctx, queryPatience)
	defer cancel()
	type answer struct {
		refs []version.Found
		err  error
	}
	answers := make([]answer, len(peers))
	n.each(len(peers), func(i int) {
		answers[i].refs, answers[i].err = version.At(ctx, asker{n}, peers[i], n.owner(), alias, number)
	})
	for i, a := range answers {
		if a.err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", peers[i].Short(), a.err))
		}
		found = append(found, a.refs...)
	}
	return found, problems
}

func because(problems []string) string {
	if len(problems) == 0 {
		return ""
	}
	return " (" + strings.Join(problems, "; ") + ")"
}
