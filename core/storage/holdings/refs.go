// SPDX-License-Identifier: Apache-2.0

package holdings

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// PutRef makes a ref durable; its records must be durable in the store already. A ref of the same owner, alias and
// version takes the place of the earlier one.
func (h *Holdings) PutRef(r core.HeldRef) error {
	if r.Alias == "" || strings.Contains(r.Alias, "\x00") || r.Version < 0 || r.Version > math.MaxUint32 {
		return fmt.Errorf("put ref: alias %q or version %d is out of bounds", r.Alias, r.Version)
	}
	err := h.update(func(t *tx) error { return t.put(bucketRefs, refKey(r.Owner, r.Alias, r.Version), r) })
	if err != nil {
		return fmt.Errorf("put ref %s version %d: %w", r.Alias, r.Version, err)
	}
	return nil
}

// Ref is one ref; core.ErrNotFound where it is not kept here.
func (h *Holdings) Ref(owner core.ID, alias string, version int) (r core.HeldRef, err error) {
	err = h.view(func(t *tx) error { return t.get(bucketRefs, refKey(owner, alias, version), &r) })
	if err != nil {
		return core.HeldRef{}, fmt.Errorf("get ref %s version %d: %w", alias, version, err)
	}
	return r, nil
}

// DropRef forgets a ref.
func (h *Holdings) DropRef(owner core.ID, alias string, version int) error {
	err := h.update(func(t *tx) error { return t.Bucket(bucketRefs).Delete(refKey(owner, alias, version)) })
	if err != nil {
		return fmt.Errorf("drop ref %s version %d: %w", alias, version, err)
	}
	return nil
}

// Refs is the owner's refs by alias and version.
func (h *Holdings) Refs(owner core.ID) (refs []core.HeldRef, err error) {
	err = h.view(func(t *tx) error {
		return t.eachRef(owner[:], func(r core.HeldRef) { refs = append(refs, r) })
	})
	if err != nil {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	return refs, nil
}

// eachRef calls visit for every ref whose key begins with prefix.
func (t *tx) eachRef(prefix []byte, visit func(core.HeldRef)) error {
	c := t.Bucket(bucketRefs).Cursor()
	for key, raw := c.Seek(prefix); key != nil && bytes.HasPrefix(key, prefix); key, raw = c.Next() {
		var r core.HeldRef
		if err := decode(bucketRefs, raw, &r); err != nil {
			return err
		}
		visit(r)
	}
	return nil
}

// dropRefs removes the refs that a task brought and returns how many there were.
func (t *tx) dropRefs(owner core.ID, task core.TaskID) (dropped int, err error) {
	var keys [][]byte
	err = t.eachRef(owner[:], func(r core.HeldRef) {
		if r.Task == task {
			keys = append(keys, refKey(owner, r.Alias, r.Version))
		}
	})
	for _, key := range keys {
		if err == nil {
			err = t.Bucket(bucketRefs).Delete(key)
		}
	}
	return len(keys), err
}
