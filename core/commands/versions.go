// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/staging"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/version"
)

// here is the chunks on this machine: staged, or kept for others.
func (n *Node) here() storage.Either { return storage.Either{First: n.Staging, Second: n.Keeping} }

// patience is how long peers may take to say which versions they know.
const patience = 30 * time.Second

// versions is the owner's versions here and at peers, as rooms see them that act for this node. Never on the loop.
type versions struct {
	*staging.Versions
	n *Node
}

// At asks every connected peer for the versions of an alias that it knows, or for all of the owner's where alias is
// empty. Each envelope is verified; peers that fail are skipped and named in problems. What is removed, as this machine
// or any peer knows, is left out; who shows it still is told so.
func (v versions) At(ctx context.Context, alias string, number int) (found []version.Found, problems []error) {
	peers := v.n.Asker().Connected()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, gone, problems := v.hear(ctx, peers, alias, number)
	if err := v.learn(alias, &gone); err != nil {
		problems = append(problems, err)
	}
	found, dead := version.Live(found, gone)
	if len(dead) == 0 {
		return found, problems
	}
	v.n.Act(func() { v.bury(dead, gone) })
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
func (v versions) hear(ctx context.Context, peers []core.ID, alias string, number int) (found []version.Found,
	gone []version.Gone, problems []error) {
	n := v.n
	type answer struct {
		refs []version.Found
		gone []version.Gone
		err  error
	}
	answers := make([]answer, len(peers))
	var asking sync.WaitGroup
	for i, id := range peers {
		asking.Go(func() {
			a := &answers[i]
			a.refs, a.gone, a.err = version.At(ctx, n.Asker(), id, n.Owner(), alias, number)
		})
	}
	asking.Wait()
	for i, a := range answers {
		if a.err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", peers[i].Short(), a.err))
		}
		found, gone = append(found, a.refs...), append(gone, a.gone...)
	}
	return found, gone, problems
}

// learn keeps the tombstones here that peers know, and adds those that this machine knows. A version that is not on
// this machine is forgotten with them; of one that is, the bytes stay until it is removed here too.
func (v versions) learn(alias string, gone *[]version.Gone) error {
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
	local, err := v.Local(alias)
	if err != nil {
		return err
	}
	_, dead := version.Live(local, own)
	for _, r := range dead {
		if r.Away {
			err = errors.Join(err, v.n.Refs.Remove(r.Ref.Alias, r.Ref.Version))
		}
	}
	return err
}

// bury has peers let go of removed versions that they were away for.
func (v versions) bury(dead []version.Found, gone []version.Gone) {
	c := v.n.coordinator()
	for _, r := range dead {
		for _, g := range gone {
			if !g.Buries(r.Ref.Alias, r.Ref.Version, r.Content()) {
				continue
			}
			if _, err := c.Release(v.n.Life(), r.At, r.Body.Task, g.Alias, g.Version, g.Envelope); err != nil {
				v.n.Log.Info("release of what is removed", "peer", r.At.Short(), "error", err)
			}
			break
		}
	}
}

// reader is the owner at home here, where the identity opens backups.
func (n *Node) reader(doing string) (*key.Owner, error) {
	o, err := n.Identity(doing)
	if err == nil {
		err = o.MayRead()
	}
	return o, err
}

func because(problems []string) string {
	if len(problems) == 0 {
		return ""
	}
	return " (" + strings.Join(problems, "; ") + ")"
}
