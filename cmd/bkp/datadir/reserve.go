// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/space"
)

// Reserve is room that is set aside in DATA/reserve, blocks as well as inodes: on a full disk it is given back, so that
// what frees space can write the little that it has to.
type Reserve struct{ dir string }

func (d Dir) Reserve() Reserve { return Reserve{d.Path("reserve")} }

const (
	reserveFiles = 4
	reserveFile  = core.MiB
	reserveSize  = reserveFiles * reserveFile // for the lists of a collection and the pages of a database's transaction
	// for who writes, locks and files on their way; those that are no files are empty directories
	reserveNames = 16
)

// Fill sets the room aside where there is enough of it. It has no need of being durable.
func (r Reserve) Fill() {
	if room, err := space.Room(filepath.Dir(r.dir)); err == nil && room >= reserveSize {
		r.restore()
	}
}

// restore takes back as much as the disk has.
func (r Reserve) restore() {
	if err := durable.Mkdir(r.dir); err != nil && !errors.Is(err, os.ErrExist) {
		return
	}
	var content []byte
	for i := range reserveNames {
		path := r.name(i)
		if i >= reserveFiles {
			_ = durable.Mkdir(path)
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Size() == int64(reserveFile) {
			continue
		}
		if content == nil { // a file system that compresses would make nothing of zeros
			content = make([]byte, reserveFile)
			_, _ = rand.Read(content)
		}
		f, err := durable.OpenOrCreate(path, 0o600)
		if err != nil {
			return
		}
		_, err = f.WriteAt(content, 0)
		if err = errors.Join(err, f.Close()); err != nil {
			_ = durable.Remove(path)
			return
		}
	}
}

// Missing is how much is not set aside at the moment: it is not for anything else.
func (r Reserve) Missing() core.Size {
	missing := core.Size(reserveSize)
	for i := range reserveFiles {
		if info, err := os.Stat(r.name(i)); err == nil {
			missing -= min(core.Size(info.Size()), reserveFile)
		}
	}
	return missing
}

func (r Reserve) name(i int) string { return filepath.Join(r.dir, strconv.Itoa(i)) }

// giveBack gives the room back; false where none was set aside.
func (r Reserve) giveBack() (had bool) {
	for i := range reserveNames {
		had = durable.Remove(r.name(i)) == nil || had
	}
	return had
}

// short reports whether the disk has less free than was set aside.
func (r Reserve) short() bool {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(r.dir), &fs); err != nil {
		return false
	}
	blocks := core.Size(fs.Bavail)*core.Size(fs.Bsize) < reserveSize
	return blocks || fs.Files > 0 && fs.Ffree < reserveNames // some file systems do not count inodes
}

// During carries out what frees space, in the room that was set aside where there is no other.
func (r Reserve) During(do func() error) error {
	had := r.short() && r.giveBack()
	err := do()
	// a quota is not seen from outside
	if !had && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) && r.giveBack() {
		had = true
		err = do()
	}
	if had {
		r.restore()
	} else {
		r.Fill()
	}
	return err
}
