// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
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
// empty. Each envelope is verified; peers that fail are skipped and named in problems. What is removed, as this machine or
// any peer knows, is left out; who shows it still is told so.
func (v ownVersions) At(ctx context.Context, alias string, number int) (found []version.Found, problems []string) {
	peers := asker{v.n}.Connected()
	ctx, cancel := context.WithTimeout(ctx, queryPatience)
	defer cancel()
	found, gone, problems := v.hear(ctx, peers, alias, number)
	if err := v.learn(alias, &gone); err != nil {
		problems = append(problems, err.Error())
	}
	found, dead := version.Live(found, gone)
	if len(dead) == 0 {
		return found, problems
	}
	v.n.act(func() { v.bury(dead, gone) })
	if alias == "" || number != 0 {
		return found, problems
	}
	var again []core.ID // they named their newest, and may have others
	for _, r := range dead {
		again = append(again, r.At)
	}
	more, _, also := v.hear(ctx, again, "", 0)
	more, _ = version.Live(more, gone)
	more = slices.DeleteFunc(more, func(r version.Found) bool { return r.Ref.Alias != alias })
	return append(found, more...), append(problems, also...)
}

// hear asks peers.
func (v ownVersions) hear(ctx context.Context, peers []core.ID, alias string, number int) (found []version.Found,
	gone []version.Gone, problems []string) {
	n := v.n
	type answer struct {
		refs []version.Found
		gone []version.Gone
		err  error
	}
	answers := make([]answer, len(peers))
	n.each(len(peers), func(i int) {
		a := &answers[i]
		a.refs, a.gone, a.err = version.At(ctx, asker{n}, peers[i], n.owner(), alias, number)
	})
	for i, a := range answers {
		if a.err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", peers[i].Short(), a.err))
		}
		found, gone = append(found, a.refs...), append(gone, a.gone...)
	}
	return found, gone, problems
}

// learn keeps the tombstones here that peers know, and adds those that this machine knows.
func (v ownVersions) learn(alias string, gone *[]version.Gone) error {
	own, err := v.Gone(alias)
	if err != nil {
		return err
	}
	for _, g := range *gone {
		if slices.ContainsFunc(own, func(o version.Gone) bool { return o.Alias == g.Alias && o.Version == g.Version }) {
			continue
		}
		if err := v.n.Refs.Learn(g.Alias, g.Version, g.Envelope); err != nil {
			return err
		}
		own = append(own, g)
	}
	*gone = own
	return nil
}

// bury has peers let go of removed versions that they were away for.
func (v ownVersions) bury(dead []version.Found, gone []version.Gone) {
	c := v.n.coordinator()
	for _, r := range dead {
		for _, g := range gone {
			if !g.Buries(r.Ref.Alias, r.Ref.Version, r.Content()) {
				continue
			}
			if _, err := c.Release(v.n.ctx, r.At, r.Body.Task, g.Alias, g.Version, g.Envelope); err != nil {
				v.n.Log.Info("release of what is removed", "peer", r.At.Short(), "error", err)
			}
			break
		}
	}
}

func because(problems []string) string {
	if len(problems) == 0 {
		return ""
	}
	return " (" + strings.Join(problems, "; ") + ")"
}
