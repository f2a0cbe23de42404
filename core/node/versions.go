// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/version"
	"golang.org/x/sync/errgroup"
)

// here is the chunks on this machine: staged, or kept for others.
func (n *Node) here() storage.Either { return storage.Either{First: n.Staging, Second: n.Keeping} }

// reader reads tree nodes and records that are on this machine.
func (n *Node) reader(ctx context.Context) *version.Reader { return version.NewReader(ctx, n.here()) }

// localRefs opens this machine's refs of an alias, or all where it is empty.
func (n *Node) localRefs(alias string) ([]version.Found, error) {
	return n.openRefs(alias, openedRefs{})
}

// openedRefs is refs that were opened, by their envelopes: opening one takes a quarter of a millisecond, and there may
// be thousands.
type openedRefs map[string]version.Found

// openRefs is localRefs for who has opened most of them a moment ago; it adds those that are new.
func (n *Node) openRefs(alias string, known openedRefs) ([]version.Found, error) {
	stored, err := n.Refs.List()
	if err != nil {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	if alias != "" {
		stored = slices.DeleteFunc(stored, func(s StoredRef) bool { return s.Alias != alias })
	}
	found := make([]version.Found, len(stored))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range stored {
		if r, ok := known[string(s.Envelope)]; ok {
			r.Away = s.Away
			found[i] = r
			continue
		}
		group.Go(func() error {
			r, err := version.Open(n.owner(), s.Envelope)
			if err != nil {
				return core.WithHint(fmt.Errorf("DATA/refs/%s/%d: %w", s.Alias, s.Version, err),
					"bkp ls says what can be done about it")
			}
			r.Away = s.Away
			found[i] = r
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, r := range found {
		known[string(r.Envelope)] = r
	}
	return found, nil
}

// ownVersions is the owner's versions here and at peers, as rooms see them that act for this node. Never on the loop.
type ownVersions struct{ n *Node }

func (v ownVersions) Local(alias string) ([]version.Found, error) { return v.n.localRefs(alias) }

func (v ownVersions) At(ctx context.Context, alias string, number int) ([]version.Found, []string) {
	return v.n.refsAt(ctx, alias, number)
}

// refsAt asks every connected peer for the versions of an alias that it knows, or for all of the owner's where
// alias is empty. Each envelope is verified; peers that fail are skipped and named in problems.
func (n *Node) refsAt(ctx context.Context, alias string, number int) (found []version.Found, problems []string) {
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
