// SPDX-License-Identifier: Apache-2.0

package holdings

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// RunOf is Run for the tasks of one owner alone: core.ErrNotFound where none of them needs the run.
func (h *Holdings) RunOf(owner core.ID, hash core.Hash) (found core.Holding, err error) {
	err = h.view(func(t *tx) error {
		var run keptRun
		if err := t.get(bucketRuns, hash[:], &run); err != nil {
			return err
		}
		err := t.needs(hash, func(key []byte, need keptFor) {
			if need.Owner != owner {
				return
			}
			if found.Kept == nil {
				found = holding(key, need, run)
			}
			found.Kept.Or(need.Kept)
		})
		if err == nil && found.Kept == nil {
			return core.ErrNotFound
		}
		return err
	})
	if err != nil {
		return core.Holding{}, fmt.Errorf("find run %s of owner %s: %w", hash, owner.Short(), err)
	}
	return found, nil
}

// FilesOf is Files of the runs that tasks of one owner need.
func (h *Holdings) FilesOf(owner core.ID, after, limit int) (files []core.File, err error) {
	files, err = h.files(after, limit, func(t *tx, run core.Hash) (its bool, err error) {
		err = t.needs(run, func(_ []byte, n keptFor) { its = its || n.Owner == owner })
		return its, err
	})
	if err != nil {
		return nil, fmt.Errorf("list files of owner %s: %w", owner.Short(), err)
	}
	return files, nil
}
