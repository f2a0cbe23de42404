// SPDX-License-Identifier: Apache-2.0

package version

import (
	"fmt"
	"time"
)

// AwayFor is how long holders must still be bound to keep a chunk for this machine to do without it.
const AwayFor = 30 * 24 * time.Hour

// BoundFor says why holders that keep something until a moment, in Unix seconds, are not bound long enough for this
// machine to do without; nil where they are.
func BoundFor(retainUntil int64, now time.Time) error {
	if until := time.Unix(retainUntil, 0); until.Sub(now) < AwayFor {
		return fmt.Errorf("its holders keep it until %s only", until.Format(time.DateOnly))
	}
	return nil
}
