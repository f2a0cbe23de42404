// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"errors"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// Memory is a small file of the data directory that may be lost without harm, as bandwidth.json.
type Memory string

// Memory is the small file of that name.
func (d Dir) Memory(name string) Memory { return Memory(d.Path(name)) }

func (m Memory) Read() ([]byte, error) {
	text, err := os.ReadFile(string(m))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, core.ErrNotFound
	}
	return text, err
}

func (m Memory) Write(text []byte) error {
	return durable.Replace(string(m), text, 0o600)
}
