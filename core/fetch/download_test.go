// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/spread"
)

// TestChunkOfTwoHoldersIsKeptOnce has both bring it at the same time, and the first fail: nobody goes on before it is
// kept.
func TestChunkOfTwoHoldersIsKeptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newArrivingRun(spread.Wanted{Run: core.Run{Chunks: []core.Chunk{{Size: 1}}}, Needed: core.FullBitmap(1)})
		kept := 0
		slowly := func(err error) func() error {
			return func() error {
				time.Sleep(time.Second)
				if err == nil {
					kept++
				}
				return err
			}
		}
		began, full := time.Now(), errors.New("no space")
		if err := r.once(0, slowly(full)); err != full {
			t.Errorf("it was not kept, and the error is %v", err)
		}
		for range 2 {
			go func() {
				if err := r.once(0, slowly(nil)); err != nil || time.Since(began) != 2*time.Second || kept != 1 {
					t.Errorf("after %v it was kept %d times, error %v", time.Since(began), kept, err)
				}
			}()
		}
		synctest.Wait()
		time.Sleep(3 * time.Second)
	})
}
