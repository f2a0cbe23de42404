// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
)

// SecretOutput makes ready to write a secret, as the identity, to a new file, or to standard output.
func (c *Call) SecretOutput(path string) (write func([]byte) error, err error) {
	if path != "-" {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return nil, line.UsageError("%s is not a regular file", core.Printable(path))
		}
		put := durable.New
		if c.Bool("force") {
			put = durable.Replace
		}
		return func(text []byte) error {
			err := put(path, text, 0o600)
			if errors.Is(err, fs.ErrExist) {
				err = core.WithHint(err, "replace it with --force")
			}
			return err
		}, nil
	}
	c.DataOut = true
	f, ok := c.Stdout.(*os.File)
	if !ok {
		return func(text []byte) error { _, err := c.Stdout.Write(text); return err }, nil
	}
	if render.IsTerminal(f) {
		return nil, core.WithHint(line.UsageError("the identity is secret and standard output is a terminal"),
			"bkp key export -o identity.bkp")
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("standard output: %w", err)
	}
	// also where it is closed: so Go opens it
	if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, null) {
		return nil, core.WithHint(line.UsageError("standard output leads nowhere"), "bkp key export -o identity.bkp")
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o077 != 0 {
		c.Status(control.Status{Warning: true, Text: fmt.Sprintf("others may read the file that standard output "+
			"goes to (mode %04o), and the identity is secret: chmod 600 it; bkp key export -o FILE makes one that "+
			"they cannot read", mode.Perm())})
	}
	return func(text []byte) error {
		_, err := f.Write(text)
		if err == nil && info.Mode().IsRegular() { // some file systems tell of a full disk only now
			err = f.Sync()
		}
		return err
	}, nil
}
