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
	types := map[string]bool{}
	for _, pattern := range []string{"../wire/testdata/golden/*.json", "../wire/testdata/golden/v2/*.json"} {
		vectors, err := filepath.Glob(pattern)
		if err != nil || len(vectors) == 0 {
			t.Fatalf("%d vectors: %v", len(vectors), err)
		}
		for _, file := range vectors {
			types[strings.TrimSuffix(filepath.Base(file), ".json")] = true
		}
	}
	elsewhere := []string{"HELLO", "AUTH", "JOIN", "JOINED", "RELAY"} // link shakes hands, a relay is opened
	if got, want := len(reactions), len(types)-len(elsewhere); got != want {
		t.Errorf("%d reactions, want %d", got, want)
	}
	for of := range types {
		if reactions[of].do != nil == slices.Contains(elsewhere, of) {
			t.Errorf("%s: reaction %t", of, reactions[of].do != nil)
		}
	}
}
