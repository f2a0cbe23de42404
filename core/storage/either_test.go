// SPDX-License-Identifier: Apache-2.0

package storage_test

import (
	"context"
	"errors"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage"
)

// answers is a store that gives the same to every question.
type answers struct {
	storage.Store
	data string
	err  error
}

func (a answers) Get(_ context.Context, _ core.Hash, dst []byte) ([]byte, error) {
	if a.err != nil {
		return []byte("rubbish"), a.err
	}
	return append(dst, a.data...), nil
}

func (a answers) Has(context.Context, core.Hash) (bool, error) {
	if errors.Is(a.err, core.ErrNotFound) || core.CodeOf(a.err) == core.CodeWrong {
		return false, nil
	}
	return a.err == nil, a.err
}

func TestEither(t *testing.T) {
	staged, kept := answers{data: "staged"}, answers{data: "kept"}
	absent := answers{err: core.ErrNotFound}
	damaged := answers{err: core.Fail(core.CodeWrong, "damaged")}
	unread := answers{err: errors.New("input/output error")}
	for _, c := range []struct {
		name          string
		first, second answers
		want          string
		err           error
		has           bool
		hasErr        error
	}{
		{"in both", staged, kept, "staged", nil, true, nil},
		{"in the first", staged, absent, "staged", nil, true, nil},
		{"in the second", absent, kept, "kept", nil, true, nil},
		{"damaged in the first", damaged, kept, "kept", nil, true, nil},
		{"the first cannot tell", unread, kept, "kept", nil, false, unread.err},
		{"in neither", absent, absent, "", core.ErrNotFound, false, nil},
		{"damaged in one", damaged, absent, "", damaged.err, false, nil},
		{"damaged in the other", absent, damaged, "", damaged.err, false, nil},
		{"one cannot tell", unread, absent, "", unread.err, false, unread.err},
		{"one cannot tell, the other is damaged", unread, damaged, "", unread.err, false, unread.err},
		{"one is damaged, the other cannot tell", damaged, unread, "", unread.err, false, unread.err},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := storage.Either{First: c.first, Second: c.second}
			data, err := e.Get(t.Context(), core.Hash{}, []byte(">"))
			if string(data) != ">"+c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("get: %q, %v; want %q, %v", data, err, c.want, c.err)
			}
			has, err := e.Has(t.Context(), core.Hash{})
			if has != c.has || !errors.Is(err, c.hasErr) || (err == nil) != (c.hasErr == nil) {
				t.Errorf("has: %v, %v; want %v, %v", has, err, c.has, c.hasErr)
			}
		})
	}
}
