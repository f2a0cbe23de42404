// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"os"
	"sync"
	"testing"
)

// TestProgramsThatStartAtOnce: none takes the folder of another for what a killed one left behind.
func TestProgramsThatStartAtOnce(t *testing.T) {
	root := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				made, err := makeSocketDir(root)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(made.path); err != nil {
					t.Error(err)
				}
				made.remove()
			}
		})
	}
	all.Wait()
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("%d left behind", len(left))
	}
}
