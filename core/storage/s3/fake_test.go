// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/s3/s3test"
	"github.com/bkp-tool/bkp/core/storage/storagetest"
)

func newServer(t testing.TB) *s3test.Server {
	t.Helper()
	s, err := s3test.New()
	return ready(t, s, err)
}

// newLocking is a server whose bucket has Object Lock.
func newLocking(t testing.TB) *s3test.Server {
	t.Helper()
	s, err := s3test.NewLocking()
	return ready(t, s, err)
}

func ready(t testing.TB, s *s3test.Server, err error) *s3test.Server {
	t.Helper()
	ok(t, err)
	t.Cleanup(s.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", s.Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.Secret)
	return s
}

func placeIn(t testing.TB, s *s3test.Server, prefix string) Place {
	t.Helper()
	p, err := Parse("s3://" + s.Bucket + "/" + prefix + "?endpoint=" + s.URL)
	ok(t, err)
	return p
}

var prefixes atomic.Int64

// options are those of a store in a prefix of its own.
func options(t testing.TB, s *s3test.Server, packSize int64) Options {
	t.Helper()
	return Options{Place: placeIn(t, s, fmt.Sprint("p", prefixes.Add(1))), Dir: t.TempDir(), Node: core.ID{1}, packSize: packSize}
}

// keys is the objects of packs of a store.
func keys(t testing.TB, s *s3test.Server, o Options) []string {
	t.Helper()
	found, err := s.Packs(o.Place.Prefix)
	ok(t, err)
	return found
}

// conforming is a prefix under test.
type conforming Options

func (c conforming) Open() (storage.Collector, error) { return Open(context.Background(), Options(c)) }

func TestConformance(t *testing.T) {
	for name, size := range map[string]int64{"one pack": packSize, "small packs": 4 << 10} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			storagetest.Test(t, func(t *testing.T) storagetest.Place { return conforming(options(t, s, size)) })
		})
		t.Run(name+", locked", func(t *testing.T) {
			s := newLocking(t)
			storagetest.Test(t, func(t *testing.T) storagetest.Place {
				return conformingLocked{conforming(lockedFor(t, s, size, 2*time.Hour))}
			})
		})
		t.Run(name+", versions", func(t *testing.T) { // nothing is locked, and what goes takes its versions along
			s := newLocking(t)
			storagetest.Test(t, func(t *testing.T) storagetest.Place {
				return conforming(lockedFor(t, s, size, Unlocked))
			})
		})
	}
}

// lockedFor are the options of a store that locks its packs for a span.
func lockedFor(t testing.TB, s *s3test.Server, size int64, span time.Duration) Options {
	t.Helper()
	o := options(t, s, size)
	o.Place.Lock = span
	return o
}

type conformingLocked struct{ conforming }

func (conformingLocked) Locks() {}
