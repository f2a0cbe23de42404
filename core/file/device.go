// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// Device is an Output onto a block device: it is written in place, and holes as zeros.
type Device struct {
	*durable.File
	claim *os.File // keeps it for this process alone
}

// OpenDevice opens a block device that holds at least size bytes, for this process alone.
func OpenDevice(path string, size core.Size) (*Device, error) {
	claim, err := os.OpenFile(path, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return nil, fmt.Errorf("open device: %w", err)
	}
	f, err := durable.Open(path)
	if err != nil {
		claim.Close()
		return nil, fmt.Errorf("open device: %w", err)
	}
	room, err := f.Seek(0, io.SeekEnd)
	if err == nil && core.Size(room) < size {
		err = core.Fail(core.CodeFailed, "%s holds %s, the file has %s", path, core.Size(room), size)
	}
	if err != nil {
		f.Close()
		claim.Close()
		return nil, err
	}
	return &Device{f, claim}, nil
}

// isDevice reports a block device.
func isDevice(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0
}

// Window and Flush are a Target's.
func (d *Device) Window() core.Size     { return targetWindow }
func (d *Device) Flush(core.Size) error { return nil }

var zeros [1 << 20]byte

// Zero writes zeros from one byte up to another.
func (d *Device) Zero(from, to core.Size) error {
	for from < to {
		n, err := d.WriteAt(zeros[:min(to-from, core.Size(len(zeros)))], int64(from))
		if err != nil {
			return err
		}
		from += core.Size(n)
	}
	return nil
}

// Commit makes what was written durable.
func (d *Device) Commit() error { return errors.Join(d.Sync(), d.Close()) }

// Close gives the device back.
func (d *Device) Close() error { return errors.Join(d.File.Close(), d.claim.Close()) }

// Abort leaves the device as it is; another try finds again what is in place.
func (d *Device) Abort(bool) string {
	d.Close()
	return ""
}
