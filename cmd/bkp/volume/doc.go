// SPDX-License-Identifier: Apache-2.0

// Package volume makes a version readable at any place for other programs: by HTTP with ranges, as a file of a mounted
// directory, or as a network block device, which can be written over.
package volume

import (
	"context"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/version"
)

// Volume is a version that is read at any place.
type Volume struct {
	io.ReaderAt
	Name    string // of the version; its last element is what readers see
	Version int
	Root    core.Hash
	Size    core.Size
	Created time.Time
	// ReadOnce is for who goes through all of it beside other readers.
	ReadOnce func(p []byte, at int64) error
}

// base is the name under which readers find it.
func (v Volume) base() string {
	if name := path.Base(v.Name); file.CheckName(name) == nil {
		return name
	}
	return "file"
}

// In is a node's way to have a version read, as the arguments say, with what is written and not to be kept in dir.
func In(dir string) commands.Volumes {
	return func(ctx context.Context, found version.Found, in *file.Volume, args control.OpenArgs,
		status func(control.Status)) error {
		v := Volume{in, found.Body.Name, found.Ref.Version, found.Body.Root.Hash, in.Size,
			time.Unix(found.Ref.Created, 0), in.ReadOnce}
		say := func(format string, args ...any) {
			status(control.Status{Phase: control.PhaseOpen, Text: fmt.Sprintf(format, args...)})
		}
		switch {
		case args.Mount != "":
			return Mount(ctx, args.Mount, v, say)
		case args.NBD != "":
			return serveNBD(ctx, dir, v, args, status)
		}
		return Serve(ctx, args.Listen, v, say)
	}
}
