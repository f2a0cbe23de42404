// SPDX-License-Identifier: Apache-2.0

// Package volume makes a version readable at any place for other programs: by HTTP with ranges, or as a file of a
// mounted directory.
package volume

import (
	"context"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/version"
)

// Volume is a version that is read at any place.
type Volume struct {
	io.ReaderAt
	Name    string // of the version; its last element is what readers see
	Root    core.Hash
	Size    core.Size
	Created time.Time
}

// base is the name under which readers find it.
func (v Volume) base() string {
	if name := path.Base(v.Name); file.CheckName(name) == nil {
		return name
	}
	return "file"
}

// Open is a node's way to have a version read, as the arguments say.
func Open(ctx context.Context, found version.Found, in *file.Volume, args control.OpenArgs,
	status func(control.Status)) error {
	v := Volume{in, found.Body.Name, found.Body.Root.Hash, in.Size, time.Unix(found.Ref.Created, 0)}
	say := func(format string, args ...any) {
		status(control.Status{Phase: control.PhaseOpen, Text: fmt.Sprintf(format, args...)})
	}
	if args.Mount != "" {
		return Mount(ctx, args.Mount, v, say)
	}
	return Serve(ctx, args.Listen, v, say)
}
