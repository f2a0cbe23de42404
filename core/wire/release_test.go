// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The files testdata/release-COMMIT.jsonl hold what nodes of a release said to each other, a message a line, as it
// stood in their frames: five nodes and their owner placed, probed, relayed, changed a rate, gave up, were refused,
// listed, fetched and released. What a release has said this one reads, and says again with the same bytes to a node of
// that release.
func TestConversationsOfReleases(t *testing.T) {
	for _, c := range []struct {
		release string
		dialect Dialect
		types   int // that came up: all of its time but GAIN_REFUSE
	}{
		{"d6aae67", V1, 28},
	} {
		recorded, err := os.ReadFile(filepath.Join("testdata", "release-"+c.release+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		types := map[string]bool{}
		for line := range bytes.Lines(recorded) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			m, skipped, err := c.dialect.Decode(line)
			if err != nil || skipped > 0 {
				t.Errorf("%s: of %s %d members were skipped, %v", c.release, line, skipped, err)
				continue
			}
			types[m.Type()] = true
			if again, err := c.dialect.Encode(m); err != nil || !bytes.Equal(again, line) {
				t.Errorf("%s: %s is now said as\n%s, %v", c.release, line, again, err)
			}
			if r, ok := m.(Relay); ok {
				inner, _, err := V1.Decode(r.Message)
				if err != nil {
					t.Errorf("%s: in a relayed message: %v", c.release, err)
					continue
				}
				if again, err := V1.Encode(inner); err != nil || !bytes.Equal(again, r.Message) {
					t.Errorf("%s: %s in a relayed message is now said as %s, %v", c.release, r.Message, again, err)
				}
			}
		}
		if len(types) != c.types {
			t.Errorf("%s: %d types of messages came up, want %d: %v", c.release, len(types), c.types, types)
		}
	}
}
