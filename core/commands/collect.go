// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core/control"
)

// Collect frees what nobody needs: staged chunks that no ref reaches but those of versions that are away, and kept ones
// that no holding needs.
func (n *Node) Collect(ctx context.Context, _ control.None, status func(control.Status)) (control.GCResult, error) {
	began := time.Now()
	var result control.GCResult
	n.collecting.Lock()
	defer n.collecting.Unlock()
	status(control.Status{Phase: "records"})
	found, err := n.Check(ctx)
	if err = cmp.Or(err, found.Err()); err != nil {
		return result, fmt.Errorf("gc: nothing is freed: %w", err)
	}
	status(control.Status{Phase: "staging"})
	if n.Owner() != nil {
		if result.Staging, err = n.own.Collect(ctx); err != nil {
			return result, fmt.Errorf("gc: %w", err)
		}
	}
	status(control.Status{Phase: "holdings"})
	if result.Holdings, err = n.CollectKept(ctx); err != nil {
		return result, fmt.Errorf("gc: holdings: %w", err)
	}
	if result.StagingKept, err = n.Staging.Used(ctx); err != nil {
		return result, err
	}
	if result.HoldingsKept, err = n.Keeping.Used(ctx); err != nil {
		return result, err
	}
	result.StagingFreed, result.HoldingsFreed = result.Staging.Freed, result.Holdings.Freed
	result.Seconds = time.Since(began).Seconds()
	return result, nil
}

// LookAtRecords holds the records of what is kept against each other: damage that it finds is no error.
func (n *Node) LookAtRecords(ctx context.Context, _ control.None,
	_ func(control.Status)) (control.RecordsResult, error) {
	found, err := n.Check(ctx)
	return control.RecordsResult{Damage: found.Damage}, err
}
