// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/version"
)

// TestOpenReadsOnWithoutAHolder: a version is read in order and at random while one of its two holders goes; a name
// that nobody knows is told.
func TestOpenReadsOnWithoutAHolder(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		data := content(1, 6<<20)
		z, _ := twoHolders(c, data, func(*commands.Config) {})
		z.Volume = func(_ context.Context, v version.Found, in *file.Volume, _ control.OpenArgs,
			_ func(control.Status)) error {
			got := make([]byte, 4096)
			for at := int64(5 << 20); at > 0; at -= 1 << 20 {
				if _, err := in.ReadAt(got, at); err != nil || !bytes.Equal(got, data[at:at+4096]) {
					t.Errorf("at %d: %v", at, err)
				}
				if at == 4<<20 {
					c.nodes["b"].stop()
				}
			}
			all, err := io.ReadAll(io.NewSectionReader(in, 0, int64(in.Size)))
			if err != nil || !bytes.Equal(all, data) || v.Ref.Version != 1 {
				t.Errorf("version %d: %d bytes, %v", v.Ref.Version, len(all), err)
			}
			return nil
		}
		if r, err := z.Open(t.Context(), control.OpenArgs{Name: "disk.img"}, func(control.Status) {}); err != nil ||
			r.Bytes != 6<<20 {
			t.Errorf("%+v, %v", r, err)
		}
		_, err := z.Open(t.Context(), control.OpenArgs{Name: "other"}, func(control.Status) {})
		if code := core.CodeOf(err); code != core.CodeNoName && code != core.CodeRedundant {
			t.Errorf("a name that nobody knows: %v", err)
		}
	})
}
