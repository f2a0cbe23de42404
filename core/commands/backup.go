// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/place"
	"github.com/bkp-tool/bkp/core/staging"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/version"
)

// Cutting is what the node gives to who cuts the file of a backup.
type Cutting struct {
	control.BackupArgs
	Owner   *key.Owner
	Staging storage.Store
	Away    staging.Away // may be nil
	// Covered reports whether enough connected peers keep a chunk already. Safe for many goroutines.
	Covered func(core.Hash) bool
	// Keep puts a chunk into staging and guards it against collection until the backup has ended.
	Keep func(c core.Chunk, id core.Hash, data []byte) error
	// Place gives chunks of a version to be, whose bytes from has, to peers, and returns the records of it once every
	// copy has its receipt. One call at a time.
	Place func(ctx context.Context, version int, from version.Chunks, chunks []core.Chunk) (place.Window, error)
	// Taken takes over the records of windows that an interrupted backup placed: Covered knows what they cover from
	// then on.
	Taken    func(ctx context.Context, records []core.Sealed) error
	Progress func(done, total core.Size)
}

// Backup cuts a file window by window, places each as a task of its own, and at last the whole version over them: that
// sends the tree nodes alone, since peers keep all else, and lets the tasks of the windows go.
func (n *Node) Backup(ctx context.Context, args control.BackupArgs,
	status func(control.Status)) (control.BackupResult, error) {
	_, status, end := n.work.begin(control.CommandBackup, args.Name, 0, status)
	defer end()
	began := time.Now()
	result := control.BackupResult{Name: args.Name}
	owner, err := n.Identity("backup")
	if err == nil {
		err = owner.MayWrite()
	}
	if err != nil {
		return result, err
	}
	release, err := n.Staging.Hold(ctx) // what the cutting finds there no ref may name before the end
	if err != nil {
		return result, fmt.Errorf("backup %s: %w", args.Name, err)
	}
	defer release()
	windows, err := n.coordinator().Windows(ctx, place.Args{Name: args.Name, Replicas: args.Replicas,
		Erasure: args.Erasure, Strategy: args.Strategy, Retain: args.Retain, Coordinator: args.Coordinator}, told(status))
	if err != nil {
		return result, fmt.Errorf("backup %s: %w", args.Name, err)
	}
	defer windows.Release()
	result.Cut, err = n.Cut(ctx, Cutting{
		BackupArgs: args, Owner: owner, Staging: n.Staging, Away: n.Away,
		Covered: windows.Covered, Keep: windows.Keep, Place: windows.Place, Taken: windows.Taken,
		Progress: func(done, total core.Size) {
			status(control.Status{Phase: "backup", Done: done, Total: total, Seconds: time.Since(began).Seconds()})
		},
	})
	if err != nil {
		return result, fmt.Errorf("backup %s: %w", args.Name, err)
	}
	if result.Unchanged {
		result.Seconds = time.Since(began).Seconds()
		return result, nil
	}
	whole, err := n.Place(ctx, control.PlaceArgs{
		Name: args.Name, Version: result.Version, Replicas: args.Replicas, Erasure: args.Erasure,
		Strategy: args.Strategy, Retain: args.Retain,
		Lock: args.Lock, Coordinator: args.Coordinator,
	}, status)
	result.Erasure = args.Erasure
	result.Replicas, result.Placements, result.Warnings = whole.Replicas, whole.Placements, whole.Warnings
	result.SentBytes, result.Seconds = windows.Sent()+whole.SentBytes, time.Since(began).Seconds()
	return result, err
}
