// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

const (
	longestSocket = 103 // bytes of a path that every system takes for a socket (BSD 104 with its end, Linux 108)
	// what goes below a root: this program's folder, and what go-plugin makes in it
	socketTail = "/bkp4294967295/plugin-dir4294967295/plugin4294967295"
)

// socketLock is the name of the lock that stands beside the folder of a program.
var socketLock = regexp.MustCompile(`^(bkp[0-9]+)\.lock$`)

// socketDirs are the folders of this program, by the folder in which they stand. They go in Cleanup.
var socketDirs = struct {
	sync.Mutex
	made map[string]socketDir
}{made: map[string]socketDir{}}

// socketDir holds the sockets of all plugins of one program. Its lock tells others that the program lives.
type socketDir struct {
	path string
	lock *durable.Lock
}

// sockets is this program's folder for sockets: below h.Sockets, else in the system's temporary folder, where such a
// path is short enough for a socket. Folders that killed programs left there go when it is made.
func (h *Host) sockets() (string, error) {
	socketDirs.Lock()
	defer socketDirs.Unlock()
	var err error
	for _, root := range []string{h.Sockets, os.TempDir(), "/tmp"} {
		if root == "" || len(root)+len(socketTail) > longestSocket {
			continue
		}
		if root == h.Sockets {
			if err = os.Mkdir(root, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				continue // there is no data directory, and looking at plugins makes none
			}
		}
		path := ""
		if path, err = socketsBelow(root); err == nil {
			return path, nil
		} // another program may have taken the folder away between the two, since it was empty
	}
	return "", core.WithHint(core.Fail(core.CodePlugin, "make a folder for the sockets of plugins: %w", err),
		"set TMPDIR to a folder with a short path that this user can write to")
}

func socketsBelow(root string) (string, error) {
	if made, ok := socketDirs.made[root]; ok {
		return made.path, nil
	}
	made, err := makeSocketDir(root)
	if err != nil {
		return "", err
	}
	socketDirs.made[root] = made
	return made.path, nil
}

// makeSocketDir makes a folder that stays while this program lives.
func makeSocketDir(root string) (socketDir, error) {
	sweepSockets(root)
	for {
		path, err := os.MkdirTemp(root, "bkp")
		if err != nil {
			return socketDir{}, err
		}
		made := socketDir{path: path, lock: durable.NewLock(path + ".lock")}
		got, err := made.lock.TryLock()
		if err != nil {
			made.remove()
			return socketDir{}, err
		}
		// Another program that sweeps may find the lock before it is taken, and then takes folder and lock away.
		if _, err := os.Stat(path); got && err == nil {
			return made, nil
		}
		_ = made.lock.Close()
	}
}

// sweepSockets removes the folders of programs that live no more. A folder that has no lock yet is being made.
func sweepSockets(root string) {
	entries, _ := os.ReadDir(root)
	for _, e := range entries {
		name := socketLock.FindStringSubmatch(e.Name())
		if name == nil {
			continue
		}
		left := socketDir{path: filepath.Join(root, name[1]), lock: durable.LockOf(filepath.Join(root, e.Name()))}
		if got, err := left.lock.TryLock(); got || errors.Is(err, fs.ErrNotExist) {
			left.remove()
		}
	}
}

// remove takes the folder and then its lock away. What cannot be removed is somebody else's.
func (d socketDir) remove() {
	_ = os.RemoveAll(d.path)
	_ = os.Remove(d.path + ".lock")
	_ = d.lock.Close()
}

func removeSockets() {
	socketDirs.Lock()
	defer socketDirs.Unlock()
	for root, made := range socketDirs.made {
		made.remove()
		delete(socketDirs.made, root)
		if root != os.TempDir() && root != "/tmp" {
			_ = os.Remove(root) // where no other program has sockets there
		}
	}
}
