// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// Alone is a host of one program, wherever it lies, without checksums. The program is its file, or what is packed of
// its folder (Pack); drop takes away what that needed.
func (h *Host) Alone(path string) (alone *Host, n Name, program []byte, drop func(), err error) {
	if n, err = NameOf(path); err != nil {
		return nil, n, nil, nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, n, nil, nil, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	if info.IsDir() {
		program, err = Pack(path)
	} else {
		program, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, n, nil, nil, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	dir, err := os.MkdirTemp("", "bkp")
	if err != nil {
		return nil, n, nil, nil, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	if err := durable.Replace(filepath.Join(dir, n.File()), program, 0o700); err != nil {
		_ = os.RemoveAll(dir)
		return nil, n, nil, nil, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	host := *h
	host.Path, host.Told, host.Inside, host.Lock = []string{dir}, []string{dir}, nil, ""
	return &host, n, program, func() { _ = os.RemoveAll(dir) }, nil
}
