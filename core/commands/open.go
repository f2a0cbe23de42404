// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/version"
)

// Open has a version read at any place, out of this machine and of its holders, until ctx ends or the reader is through.
func (n *Node) Open(ctx context.Context, args control.OpenArgs, status func(control.Status)) (control.OpenResult, error) {
	began := time.Now()
	owner, err := n.reader("open")
	if err != nil {
		return control.OpenResult{}, err
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	v, err := n.fetcher(status).Open(ctx, args.Name, args.Version)
	if v != nil {
		defer v.Close()
	}
	var volume *file.Volume
	if err == nil {
		volume, err = file.OpenVolume(ctx, file.Assembly{Root: v.Body.Root,
			Secrets: chunk.NewSecrets(owner.DedupSecret), Local: v, Remote: v})
	}
	if err != nil {
		return control.OpenResult{}, fmt.Errorf("open %s: %w", args.Name, err)
	}
	err = n.Volume(ctx, v.Found, volume, args, status)
	return control.OpenResult{Name: args.Name, Version: v.Ref.Version, Bytes: volume.Size,
		Seconds: time.Since(began).Seconds()}, err
}

// Volumes makes a version readable, as its arguments say, until ctx ends.
type Volumes func(ctx context.Context, v version.Found, volume *file.Volume, args control.OpenArgs,
	status func(control.Status)) error
