// SPDX-License-Identifier: Apache-2.0

package writers

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// Condemned is the packs that no writer may lean on any more, each with the epoch that its condemnation began.
type Condemned struct {
	Epoch uint64
	Packs map[string]uint64
}

const condemnedHead = "bkp condemned 1"

// condemned is what CONDEMNED says. Where it is lost or damaged nothing is condemned and the epoch is 0: whoever
// enters then counts as older than every condemnation, and a collection begins anew above all epochs that it meets.
func (d Dir) condemned() Condemned {
	c, err := d.Condemned()
	if err != nil {
		return Condemned{Packs: map[string]uint64{}}
	}
	return c
}

// Condemned is what CONDEMNED says: nothing where it is lost, core.CodeWrong where it is damaged.
func (d Dir) Condemned() (c Condemned, err error) {
	c.Packs = map[string]uint64{}
	text, err := os.ReadFile(d.condemnedPath())
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	broken := core.Fail(core.CodeWrong, "it does not match its hash")
	if len(text) < 65 {
		return c, broken
	}
	body, sum := text[:len(text)-65], text[len(text)-65:]
	if want := blake3.Sum256(body); string(sum) != hex.EncodeToString(want[:])+"\n" {
		return c, broken
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	if len(lines) < 2 || lines[0] != condemnedHead {
		return c, core.Fail(core.CodeWrong, "it is of another form")
	}
	if c.Epoch, err = strconv.ParseUint(lines[1], 10, 64); err != nil {
		return c, core.Fail(core.CodeWrong, "its epoch: %w", err)
	}
	for _, line := range lines[2:] {
		name, epoch, _ := strings.Cut(line, " ")
		if c.Packs[name], err = strconv.ParseUint(epoch, 10, 64); err != nil {
			return c, core.Fail(core.CodeWrong, "the epoch of pack %s: %w", name, err)
		}
	}
	return c, nil
}

// Condemn makes this what every writer reads that enters from now on. Nobody minds losing it with the power: no writer
// outlives that.
func (d Dir) Condemn(c Condemned) error {
	var body bytes.Buffer
	fmt.Fprintf(&body, "%s\n%d\n", condemnedHead, c.Epoch)
	for name, epoch := range c.Packs {
		fmt.Fprintf(&body, "%s %d\n", name, epoch)
	}
	sum := blake3.Sum256(body.Bytes())
	return durable.Replace(d.condemnedPath(), append(body.Bytes(), hex.EncodeToString(sum[:])+"\n"...), 0o600)
}

// Tidy removes what is left of lists that were to take the place of CONDEMNED.
func (d Dir) Tidy() {
	files, _ := filepath.Glob(filepath.Join(string(d), ".CONDEMNED*"))
	for _, path := range files {
		_ = durable.Remove(path)
	}
}

func (d Dir) condemnedPath() string { return filepath.Join(string(d), "CONDEMNED") }
