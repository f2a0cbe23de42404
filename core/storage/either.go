// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"

	"github.com/bkp-tool/bkp/core"
)

// Either is two stores of which the first is looked into first: what is staged on this machine, then what it keeps for
// others.
type Either struct{ First, Second Store }

// Get is as Store's. Where neither store has the chunk whole, a store that could not tell, or has it damaged, is the
// reason that is given.
func (e Either) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	data, first := e.First.Get(ctx, hash, dst)
	if first == nil {
		return data, nil
	}
	data, second := e.Second.Get(ctx, hash, dst)
	if second == nil {
		return data, nil
	}
	if errors.Is(second, core.ErrNotFound) || core.CodeOf(second) == core.CodeWrong &&
		!errors.Is(first, core.ErrNotFound) {
		second = first
	}
	return dst, second
}

// Has is as Store's.
func (e Either) Has(ctx context.Context, hash core.Hash) (bool, error) {
	if there, err := e.First.Has(ctx, hash); there || err != nil {
		return there, err
	}
	return e.Second.Has(ctx, hash)
}
