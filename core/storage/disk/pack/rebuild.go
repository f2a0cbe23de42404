// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"fmt"
	"io"
	"os"

	"github.com/bkp-tool/bkp/core"
)

// Rebuild reads through a finished pack whose table is lost, and where it shall mend, and can, gives it a new one in
// its place.
func Rebuild(dir, name string, mend bool) (rows []Row, err error) {
	rows, end, err := readThrough(dir, name)
	if err != nil {
		return nil, fmt.Errorf("rebuild the table of pack %s: %w", name, err)
	}
	if !mend || len(rows) == 0 {
		return rows, nil
	}
	f, err := claimAt(Path(dir, name))
	if f == nil || err != nil {
		return rows, nil // another process does the same, or it goes on without
	}
	defer f.abandon()
	header := append([]byte(magic), make([]byte, HeaderSize-len(magic))...) // it may be lost as well
	if _, err := f.file.WriteAt(header, 0); err == nil {
		_ = f.seal(rows, end)
	}
	return rows, nil
}

// readThrough is what is whole in a finished pack, each chunk once, and where the last of it ends.
func readThrough(dir, name string) (rows []Row, end int64, err error) {
	f, err := os.Open(Path(dir, name))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	seen := map[core.Hash]bool{}
	end, err = Salvage(f, info.Size(), func(r Row, _ []byte) error {
		if !seen[r.Hash] {
			seen[r.Hash], rows = true, append(rows, r)
		}
		return nil
	})
	return rows, end, err
}

// Orphan is a pack that a process began which has died, for this process alone.
type Orphan struct{ f *file }

// Claim takes a pack that nobody writes any more; nil where somebody does, or it is gone.
func Claim(dir, name string) (*Orphan, error) {
	f, err := claimAt(OpenPath(dir, name))
	if f == nil || err != nil {
		return nil, err
	}
	return &Orphan{f}, nil
}

// Salvage is the function of that name for this pack.
func (o *Orphan) Salvage(visit func(r Row, data []byte) error) error {
	info, err := o.f.file.Stat()
	if err == nil {
		_, err = Salvage(io.ReaderAt(o.f.file), info.Size(), visit)
	}
	return err
}

// Release gives the pack up.
func (o *Orphan) Release() { o.f.abandon() }
