// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"regexp"
	"testing"
)

// TestComposeDrawsItsToken: whoever reads docker-compose.yml finds no token in it, and the nodes that it starts share a
// file into which the first draws one.
func TestComposeDrawsItsToken(t *testing.T) {
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^ *\w*TOKEN\w*: *(.*)$`).FindAllStringSubmatch(string(text), -1) {
		if m[1] != "${BKP_CLUSTER_TOKEN:-}" && m[1] != "/cluster/token" {
			t.Errorf("it names a token, or a file of its own: %s", m[0])
		}
	}
	if !regexp.MustCompile(`(?m)^ *BKP_DRAW_TOKEN: /cluster/token$`).Match(text) {
		t.Error("no node draws one")
	}
}
