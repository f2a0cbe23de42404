// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/volume/nbd"
	"github.com/bkp-tool/bkp/cmd/bkp/volume/overlay"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/storage/disk/space"
)

// serveNBD gives the volume out as a network block device until ctx ends. What is written goes into an overlay: a file
// in dir that goes at the end, unless the arguments name one.
func serveNBD(ctx context.Context, dir string, v Volume, args control.OpenArgs,
	status func(control.Status)) (err error) {
	l, err := listenAt(args.NBD, "nbd")
	if err != nil {
		return err
	}
	defer l.Close()
	d := &disk{say: status, told: map[string]time.Time{}}
	d.device, d.over, err = overlaid(dir, v, args)
	if err != nil {
		return err
	}
	if d.over != nil {
		defer func() { err = errors.Join(err, d.over.Close()) }()
	}
	how, where := "reading and writing", ""
	switch {
	case args.ReadOnly:
		how = "reading"
	case args.Overlay != "":
		where = "; what is written goes to " + core.Printable(args.Overlay)
	default:
		where = "; what is written is gone then"
	}
	status(control.Status{Phase: control.PhaseOpen, Text: fmt.Sprintf("%s nbd://%s/%s until interrupted%s", how,
		l.Addr(), url.PathEscape(v.base()), where)})
	ctx, stop := context.WithCancel(ctx)
	var filling sync.WaitGroup
	defer filling.Wait()
	defer stop()
	if args.Fetch {
		filling.Go(func() { d.fill(ctx, v, filepath.Dir(d.over.Path())) })
	}
	return nbd.Serve(ctx, l, &nbd.Export{Names: []string{v.base(), v.Name}, Size: int64(v.Size),
		ReadOnly: args.ReadOnly, Device: d})
}

// overlaid is the device of a volume, and what lies over it; nil where nothing does.
func overlaid(dir string, v Volume, args control.OpenArgs) (device, *overlay.Overlay, error) {
	if args.ReadOnly && args.Overlay == "" && !args.Fetch {
		return readOnly{v}, nil, nil
	}
	under := overlay.Under{Root: v.Root, Size: v.Size, Version: fmt.Sprintf("%s@%d", v.Name, v.Version)}
	open := func() (*overlay.Overlay, error) { return overlay.Open(args.Overlay, under, v) }
	if args.Overlay == "" {
		open = func() (*overlay.Overlay, error) { return overlay.Temporary(dir, under, v) }
	}
	o, err := open()
	return o, o, err
}

type device = nbd.Device

// readOnly is a volume without an overlay; the protocol's side refuses what changes it.
type readOnly struct{ Volume }

func (readOnly) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (readOnly) Zero(int64, int64) error            { return errors.ErrUnsupported }
func (readOnly) Trim(int64, int64) error            { return errors.ErrUnsupported }
func (readOnly) Flush() error                       { return nil }

// disk is a device that tells its user why it fails: a client learns no more than that it does.
type disk struct {
	device
	over *overlay.Overlay
	say  func(control.Status)

	mu   sync.Mutex
	told map[string]time.Time // by what failed
}

// tellAgain is how long it is not told again that something fails: a client that meets it asks again and again.
const tellAgain = time.Minute

func (d *disk) warn(doing string, err error) error {
	if err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.told[doing]) > tellAgain {
		d.told[doing] = time.Now()
		d.say(control.Status{Phase: control.PhaseOpen, Text: fmt.Sprintf("%s: %v", doing, err), Warning: true})
	}
	return err
}

// ReadAt makes it a nbd.Device, as do those that follow.
func (d *disk) ReadAt(p []byte, at int64) (int, error) {
	n, err := d.device.ReadAt(p, at)
	if n == len(p) {
		err = nil
	}
	return n, d.warn("read", err)
}

func (d *disk) WriteAt(p []byte, at int64) (int, error) {
	n, err := d.device.WriteAt(p, at)
	return n, d.warn("write", err)
}

func (d *disk) Zero(at, length int64) error { return d.warn("write zeros", d.device.Zero(at, length)) }
func (d *disk) Trim(at, length int64) error { return d.warn("trim", d.device.Trim(at, length)) }
func (d *disk) Flush() error                { return d.warn("flush", d.device.Flush()) }

const (
	// fillStep is how much is brought at a time, and so what a reader waits for at most beside its own: 1 MiB is what
	// a volume puts together at least.
	fillStep = int64(core.MiB)

	// fillSync is after how much of it what was brought is made durable, and so lost at most where the node is killed.
	fillSync = int64(core.GiB)

	// fillAgain is when it is tried again where holders did not give it.
	fillAgain = 10 * time.Second
)

// fill brings all of the volume that the overlay lacks into it, until ctx ends.
func (d *disk) fill(ctx context.Context, v Volume, dir string) {
	began, size, unsynced := time.Now(), int64(v.Size), int64(0)
	buffer := make([]byte, fillStep)
	for at := int64(0); at < size; {
		p := buffer[:min(fillStep, size-at)]
		brought, err := d.bring(v, dir, p, at)
		if ctx.Err() != nil {
			return
		}
		if _, full := errors.AsType[noRoom](err); full {
			_ = d.warn("fetch ends before all of it is here", err)
			return
		}
		if d.warn("fetch", err) != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(fillAgain):
			}
			continue
		}
		at += int64(len(p))
		if unsynced += brought; unsynced >= fillSync {
			_, unsynced = d.Flush(), 0
		}
		d.say(control.Status{Phase: "fetch", Done: core.Size(at), Total: v.Size, Seconds: time.Since(began).Seconds()})
	}
	if d.Flush() == nil {
		d.say(control.Status{Phase: control.PhaseOpen, Text: "all of it is on this machine now"})
	}
}

// noRoom is why the overlay cannot take more.
type noRoom struct{ error }

// bring has bytes of the volume in the overlay, where they are not yet; it says how many it read.
func (d *disk) bring(v Volume, dir string, p []byte, at int64) (int64, error) {
	if !d.over.Lacks(at, at+int64(len(p))) {
		return 0, nil
	}
	if room, err := space.Room(dir); err == nil && room < core.Size(len(p)) {
		return 0, noRoom{fmt.Errorf("the disk of %s is full but for what others need", core.Printable(dir))}
	}
	if err := v.ReadOnce(p, at); err != nil {
		return 0, err
	}
	if err := d.over.Fill(p, at); err != nil {
		return 0, noRoom{err}
	}
	return int64(len(p)), nil
}
