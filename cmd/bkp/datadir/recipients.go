// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// Recipients is recipients, a file as age -R reads: who besides the owner can open what is sealed here. A line that is no
// key is an error: nothing is to be sealed to fewer than were asked for.
func (d Dir) Recipients() (list []string, err error) {
	text, err := os.ReadFile(d.Path("recipients"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("recipients: %w", err)
	}
	for l := range strings.Lines(string(text)) {
		if l = strings.TrimSpace(l); l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		r, err := key.ParseRecipient(l)
		if err != nil {
			return nil, core.WithHint(fmt.Errorf("%s: %w", d.Path("recipients"), err), "take the line out of the file")
		}
		list = append(list, r)
	}
	return list, nil
}

// PutRecipients says who besides the owner can open what is sealed from now on.
func (d Dir) PutRecipients(list []string) error {
	if len(list) > key.MaxRecipients {
		return core.Fail(core.CodeUsage, "%d recipients, at most %d are allowed", len(list), key.MaxRecipients)
	}
	text := strings.Join(append(slices.Clone(list), ""), "\n")
	if err := durable.Replace(d.Path("recipients"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("recipients: %w", err)
	}
	return nil
}
