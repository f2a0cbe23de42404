// SPDX-License-Identifier: Apache-2.0

package chunk_test

import (
	"bytes"
	"runtime"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

// A sealer's and an opener's last call is as good as any, also where the garbage collector runs during it: what they hold
// of a C library's is freed when nobody has them any more, and not while it is at work.
func TestLastCallWhileGarbageIsCollected(t *testing.T) {
	plain := text(1, chunk.MaxPlain/2)
	sealer := newSealer(t, testSecrets, chunk.LevelDefault)
	_, k := sealer.Identify(core.KindChunk, plain)
	want := seal(t, testSecrets, chunk.LevelDefault, plain)
	stored := core.Sealed{Key: k, Hash: chunk.Hash(want), Size: core.Size(len(want)), Plain: core.Size(len(plain))}
	done := make(chan struct{})
	var workers, collector sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
			}
		}
	})
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for range 4 { // what one frees too early another takes
		workers.Go(func() {
			for round := range rounds {
				got, err := chunk.NewOpener().OpenSealed(nil, core.KindChunk, stored, want)
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("round %d: opened to other bytes, %v", round, err)
				}
				if round%10 == 0 && !bytes.Equal(seal(t, testSecrets, chunk.LevelDefault, plain), want) {
					t.Errorf("round %d: sealed to other bytes", round)
				}
			}
		})
	}
	workers.Wait()
	close(done)
	collector.Wait()
}
