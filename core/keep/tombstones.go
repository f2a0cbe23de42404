// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// bury notes that a version is removed, where anything is kept here for its owner, and returns the tasks that keep
// something of it, that of the release first. It is refused while one of them is locked.
func (t *Target) bury(r key.Release, envelope []byte) (tasks []core.TaskID, err error) {
	x, err := key.OpenTombstone(envelope)
	if err == nil {
		err = x.Allowed(time.Now())
	}
	if err == nil {
		err = t.stillMay(x.Owner, key.IDOf(x.Key))
	}
	if err == nil && (x.Owner != r.Owner || x.Alias != r.Alias || x.Version != r.Version) {
		err = fmt.Errorf("the tombstone is of %s.%d, the release of %s.%d", x.Alias, x.Version, r.Alias, r.Version)
	}
	if err != nil {
		return nil, refuse(core.ReasonRights, "%v", err)
	}
	tasks = []core.TaskID{r.Task}
	refs, err := t.Holdings.Refs(x.Owner)
	if err != nil {
		return nil, err
	}
	add := func(task core.TaskID) {
		if !slices.Contains(tasks, task) {
			tasks = append(tasks, task)
		}
	}
	for _, ref := range refs {
		switch {
		case ref.Alias != x.Alias || ref.Version != x.Version:
		case !ref.Content.IsZero() && ref.Content != x.Content:
			return nil, refuse(core.ReasonContent, "%v", errOtherContent)
		default:
			add(ref.Task)
		}
	}
	known, locked, words := false, int64(0), refWords(len(envelope))
	t.loop.Ask(func(s *State) {
		for id, seg := range s.segments {
			if seg.Owner == x.Owner && seg.Alias == x.Alias && seg.Version == x.Version {
				add(id.Task)
			}
		}
		for _, task := range tasks {
			locked = max(locked, s.lockedUntil(x.Owner, task))
		}
		if known = s.accounts[x.Owner] != nil && locked <= time.Now().Unix(); known {
			s.account(x.Owner).refs += words // until the holdings say how many there are
		}
	})
	if locked > time.Now().Unix() {
		return nil, refuse(core.ReasonLocked, "task %s is locked until %s", r.Task, dayOf(locked))
	}
	if !known { // who has nothing here is owed no memory
		return tasks, nil
	}
	return tasks, t.Holdings.PutTombstone(core.HeldTombstone{Owner: x.Owner, Alias: x.Alias, Version: x.Version,
		Content: x.Content, Until: x.Until, Envelope: envelope})
}

// buried is an error where a version is removed.
func (t *Target) buried(r core.HeldRef) error {
	all, err := t.Holdings.Tombstones(r.Owner)
	if err == nil && slices.ContainsFunc(all, func(x core.HeldTombstone) bool {
		return x.Alias == r.Alias && x.Version == r.Version && (r.Content.IsZero() || r.Content == x.Content)
	}) {
		err = &refusal{core.ReasonContent, fmt.Sprintf("ref %s.%d: its owner removed that version", r.Alias, r.Version)}
	}
	return err
}

// tombstones is the envelopes of those of an owner that belong to a part: of an alias, and a version where that is not
// 0, or of all where alias is empty. A tombstone is shown to who acts for the owner alone.
func (t *Target) tombstones(owner core.ID, part Part, alias string, version int) (envelopes [][]byte, err error) {
	if !part.all {
		return nil, nil
	}
	all, err := t.Holdings.Tombstones(owner)
	for _, x := range all {
		if alias == "" || alias == x.Alias && (version == 0 || version == x.Version) {
			envelopes = append(envelopes, x.Envelope)
		}
	}
	return envelopes, err
}
