// SPDX-License-Identifier: Apache-2.0

package holdings

import (
	"bytes"
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// PutTombstone makes a tombstone durable.
func (h *Holdings) PutTombstone(x core.HeldTombstone) error {
	key := refKey(x.Owner, x.Alias, x.Version)
	if err := h.update(func(t *tx) error { return t.put(bucketTombstones, key, x) }); err != nil {
		return fmt.Errorf("put tombstone %s version %d: %w", x.Alias, x.Version, err)
	}
	return nil
}

// Tombstones is the owner's tombstones by alias and version.
func (h *Holdings) Tombstones(owner core.ID) (all []core.HeldTombstone, err error) {
	err = h.view(func(t *tx) error {
		return t.eachTombstone(owner[:], func(_ []byte, x core.HeldTombstone) { all = append(all, x) })
	})
	if err != nil {
		return nil, fmt.Errorf("list tombstones: %w", err)
	}
	return all, nil
}

// ForgetTombstones forgets those whose time is over at now, Unix seconds.
func (h *Holdings) ForgetTombstones(now int64) error {
	var over [][]byte
	find := func(t *tx) error {
		return t.eachTombstone(nil, func(key []byte, x core.HeldTombstone) {
			if x.Until <= now {
				over = append(over, bytes.Clone(key))
			}
		})
	}
	err := h.view(find)
	if err == nil && len(over) > 0 {
		err = h.update(func(t *tx) (err error) {
			for _, key := range over {
				if err == nil {
					err = t.Bucket(bucketTombstones).Delete(key)
				}
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("forget tombstones: %w", err)
	}
	return nil
}

func (t *tx) eachTombstone(prefix []byte, visit func(key []byte, x core.HeldTombstone)) error {
	c := t.Bucket(bucketTombstones).Cursor()
	for key, raw := c.Seek(prefix); key != nil && bytes.HasPrefix(key, prefix); key, raw = c.Next() {
		var x core.HeldTombstone
		if err := decode(bucketTombstones, raw, &x); err != nil {
			return err
		}
		visit(key, x)
	}
	return nil
}
