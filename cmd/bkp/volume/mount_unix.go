// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin

package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// forever is how long the kernel may remember what never changes.
var forever = time.Hour

// Mount shows the volume as a file that can only be read, alone in dir, until ctx ends or somebody unmounts it.
func Mount(ctx context.Context, dir string, v Volume, say func(format string, args ...any)) error {
	if entries, err := os.ReadDir(dir); err != nil {
		return core.WithHint(fmt.Errorf("mount: %w", err), "mkdir %s", core.Printable(dir))
	} else if len(entries) > 0 {
		return core.WithHint(core.Fail(core.CodeUsage, "mount: %s is not empty", core.Printable(dir)),
			"name an empty directory")
	}
	root := &folder{volume: v}
	server, err := fs.Mount(dir, root, &fs.Options{
		EntryTimeout: &forever, AttrTimeout: &forever,
		MountOptions: fuse.MountOptions{FsName: "bkp", Name: "bkp", DirectMount: true, MaxReadAhead: 1 << 20,
			Options: []string{"ro"}, DisableXAttrs: true},
	})
	if err != nil {
		return core.WithHint(fmt.Errorf("mount %s: %w", core.Printable(dir), err),
			"does /dev/fuse exist? who is not root also needs fusermount3 (Debian: apt-get install fuse3); without "+
				"FUSE: bkp serve NAME")
	}
	say("%s is in %s until interrupted, or unmounted", core.Printable(v.base()), core.Printable(dir))
	left := make(chan struct{})
	go func() {
		server.Wait()
		close(left)
	}()
	select {
	case <-left:
		return nil
	case <-ctx.Done():
	}
	if err := server.Unmount(); err != nil {
		say("%s is in use still, and goes when it is no more: %v", core.Printable(dir), err)
		detach(dir)
	}
	return nil
}

// folder is the root, with one file.
type folder struct {
	fs.Inode
	volume Volume
}

// OnAdd makes it a fs.NodeOnAdder.
func (f *folder) OnAdd(ctx context.Context) {
	f.AddChild(f.volume.base(), f.NewPersistentInode(ctx, &content{volume: f.volume}, fs.StableAttr{Mode: syscall.S_IFREG}),
		false)
}

// content is the file.
type content struct {
	fs.Inode
	volume Volume
}

// Getattr makes it a fs.NodeGetattrer.
func (c *content) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Nlink = 1
	out.Mode, out.Size, out.Blocks = 0o444, uint64(c.volume.Size), (uint64(c.volume.Size)+511)/512
	out.SetTimes(nil, &c.volume.Created, &c.volume.Created)
	return fs.OK
}

// Open makes it a fs.NodeOpener. The content of a version never changes, so the kernel may keep what it read.
func (c *content) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	return nil, fuse.FOPEN_KEEP_CACHE, fs.OK
}

// Read makes it a fs.NodeReader.
func (c *content) Read(_ context.Context, _ fs.FileHandle, dest []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	n, err := c.volume.ReadAt(dest, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(dest[:n]), fs.OK
}
