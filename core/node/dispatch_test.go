// SPDX-License-Identifier: Apache-2.0

package node

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEveryMessageHasOneReaction holds the table against the golden vectors, of which every type has one.
func TestEveryMessageHasOneReaction(t *testing.T) {
	vectors, err := filepath.Glob("../wire/testdata/golden/*.json")
	if err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors: %v", len(vectors), err)
	}
	elsewhere := []string{"HELLO", "AUTH", "RELAY"} // link shakes hands, a relay is opened
	if got, want := len(reactions), len(vectors)-len(elsewhere); got != want {
		t.Errorf("%d reactions, want %d", got, want)
	}
	for _, file := range vectors {
		of := strings.TrimSuffix(filepath.Base(file), ".json")
		if (reactions[of] == nil) != slices.Contains(elsewhere, of) {
			t.Errorf("%s: reaction %t", of, reactions[of] != nil)
		}
	}
}
