// SPDX-License-Identifier: Apache-2.0

package keeptest

import (
	"context"
	"reflect"
	"runtime"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/holdings"
)

// OffLoop fails a test where a store, a database or a log is asked on the loop of a node, which must not wait for one.
// Each call is named once.
type OffLoop struct {
	t    testing.TB
	loop string // name of the function
	mu   sync.Mutex
	told map[string]bool
}

// NewOffLoop watches calls below a function, or the one of a name: the one at the root of the loop's goroutine.
func NewOffLoop(t testing.TB, loop any) *OffLoop {
	name, named := loop.(string)
	if !named {
		name = runtime.FuncForPC(reflect.ValueOf(loop).Pointer()).Name()
	}
	return &OffLoop{t: t, loop: name, told: map[string]bool{}}
}

// Called is told of a call. A nil OffLoop minds none.
func (o *OffLoop) Called(what string) {
	if o == nil {
		return
	}
	var pcs [128]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if f.Function == o.loop {
			break
		}
		if !more {
			return
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.told[what] {
		o.told[what] = true
		o.t.Errorf("%s is asked on the loop", what)
	}
}

// DiskStore is a store on disk that is never asked on the loop.
type DiskStore struct {
	*disk.Store
	Watch *OffLoop
	Name  string
}

func (s DiskStore) Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (bool, error) {
	s.Watch.Called(s.Name + ".Put")
	return s.Store.Put(ctx, c, id, data)
}

func (s DiskStore) Barrier(ctx context.Context) error {
	s.Watch.Called(s.Name + ".Barrier")
	return s.Store.Barrier(ctx)
}

func (s DiskStore) Find(ctx context.Context, id core.Hash) (core.Chunk, bool, error) {
	s.Watch.Called(s.Name + ".Find")
	return s.Store.Find(ctx, id)
}

func (s DiskStore) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	s.Watch.Called(s.Name + ".Get")
	return s.Store.Get(ctx, hash, dst)
}

func (s DiskStore) Has(ctx context.Context, hash core.Hash) (bool, error) {
	s.Watch.Called(s.Name + ".Has")
	return s.Store.Has(ctx, hash)
}

func (s DiskStore) Used(ctx context.Context) (core.Size, error) {
	s.Watch.Called(s.Name + ".Used")
	return s.Store.Used(ctx)
}

func (s DiskStore) Collect(ctx context.Context, live func(core.Hash) (bool, error),
	gone core.Notes) (core.Collected, error) {
	s.Watch.Called(s.Name + ".Collect")
	return s.Store.Collect(ctx, live, gone)
}

func (s DiskStore) Hold(ctx context.Context) (func() error, error) {
	s.Watch.Called(s.Name + ".Hold")
	return s.Store.Hold(ctx)
}

func (s DiskStore) Damaged(ctx context.Context, hash core.Hash) (bool, error) {
	s.Watch.Called(s.Name + ".Damaged")
	return s.Store.Damaged(ctx, hash)
}

// Holdings is a database that is never asked on the loop.
type Holdings struct {
	*holdings.Holdings
	Watch *OffLoop
}

func (h Holdings) PutSegment(s core.Segment, root core.Hash) (bool, error) {
	h.Watch.Called("PutSegment")
	return h.Holdings.PutSegment(s, root)
}

func (h Holdings) Bound(id core.LicenseID) (core.Hash, error) {
	h.Watch.Called("Bound")
	return h.Holdings.Bound(id)
}

func (h Holdings) Segments() ([]core.Segment, error) {
	h.Watch.Called("Segments")
	return h.Holdings.Segments()
}

func (h Holdings) PutRuns(runs []core.Holding, described ...core.Described) error {
	h.Watch.Called("PutRuns")
	return h.Holdings.PutRuns(runs, described...)
}

func (h Holdings) Run(hash core.Hash) (core.Holding, error) {
	h.Watch.Called("Run")
	return h.Holdings.Run(hash)
}

func (h Holdings) RunOf(owner core.ID, hash core.Hash) (core.Holding, error) {
	h.Watch.Called("RunOf")
	return h.Holdings.RunOf(owner, hash)
}

func (h Holdings) Kept(task core.TaskID, segment int) ([]core.Holding, error) {
	h.Watch.Called("Kept")
	return h.Holdings.Kept(task, segment)
}

func (h Holdings) Files(after, limit int) ([]core.File, error) {
	h.Watch.Called("Files")
	return h.Holdings.Files(after, limit)
}

func (h Holdings) FilesOf(owner core.ID, after, limit int) ([]core.File, error) {
	h.Watch.Called("FilesOf")
	return h.Holdings.FilesOf(owner, after, limit)
}

func (h Holdings) Count() (int, error) {
	h.Watch.Called("Count")
	return h.Holdings.Count()
}

func (h Holdings) OwnerBytes(owner core.ID) (core.Size, error) {
	h.Watch.Called("OwnerBytes")
	return h.Holdings.OwnerBytes(owner)
}

func (h Holdings) PutRef(r core.HeldRef) error {
	h.Watch.Called("PutRef")
	return h.Holdings.PutRef(r)
}

func (h Holdings) Refs(owner core.ID) ([]core.HeldRef, error) {
	h.Watch.Called("Refs")
	return h.Holdings.Refs(owner)
}

func (h Holdings) PutTombstone(x core.HeldTombstone) error {
	h.Watch.Called("PutTombstone")
	return h.Holdings.PutTombstone(x)
}

func (h Holdings) Tombstones(owner core.ID) ([]core.HeldTombstone, error) {
	h.Watch.Called("Tombstones")
	return h.Holdings.Tombstones(owner)
}

func (h Holdings) ForgetTombstones(now int64) error {
	h.Watch.Called("ForgetTombstones")
	return h.Holdings.ForgetTombstones(now)
}

func (h Holdings) HasTask(owner core.ID, task core.TaskID) (bool, error) {
	h.Watch.Called("HasTask")
	return h.Holdings.HasTask(owner, task)
}

func (h Holdings) ReleaseTask(owner core.ID, task core.TaskID) (int, core.Size, error) {
	h.Watch.Called("ReleaseTask")
	return h.Holdings.ReleaseTask(owner, task)
}

func (h Holdings) Live(visit func(core.Chunk)) error {
	h.Watch.Called("Live")
	return h.Holdings.Live(visit)
}

func (h Holdings) Remember(head core.LedgerHead) error {
	h.Watch.Called("Remember")
	return h.Holdings.Remember(head)
}

func (h Holdings) Remembered() (core.LedgerHead, bool, error) {
	h.Watch.Called("Remembered")
	return h.Holdings.Remembered()
}
