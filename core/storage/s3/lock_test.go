// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/s3/s3test"
)

// none is what a collection is told where nothing is needed.
func none(core.Hash) (bool, error) { return false, nil }

// lockOf is until when the server lets nobody remove a pack.
func lockOf(t testing.TB, s *s3test.Server, key string) time.Time {
	t.Helper()
	text, err := s.Lock(key)
	ok(t, err)
	if text == "" {
		return time.Time{}
	}
	until, err := time.Parse(time.RFC3339, text)
	ok(t, err)
	return until
}

// A pack cannot be removed before its time: not by a collection, which says until when, and not by who has the
// credentials. In parts or at once, it is locked alike.
func TestAPackIsLocked(t *testing.T) {
	srv := newLocking(t)
	for name, size := range map[string]int{"at once": 1000, "in parts": 17 << 20} {
		t.Run(name, func(t *testing.T) {
			o := lockedFor(t, srv, 0, time.Hour)
			s := opened(t, o)
			began := time.Now()
			p := makePiece(1, size)
			kept(t, s, p)
			packs := keys(t, srv, o)
			if len(packs) != 1 {
				t.Fatalf("packs %v", packs)
			}
			until := lockOf(t, srv, packs[0])
			if until.Before(began.Add(time.Hour)) || until.After(time.Now().Add(time.Hour+2*time.Minute)) {
				t.Errorf("it is locked until %v, put at %v", until, began)
			}
			got, err := s.Collect(bg, none, nil)
			ok(t, err)
			if got.Locked != p.Size || !got.LockedUntil.Equal(until) || !got.AllLockedUntil.Equal(until) || got.Freed > 0 {
				t.Errorf("collected %+v, it is locked until %v", got, until)
			}
			id, err := srv.Version(packs[0])
			ok(t, err)
			if err := srv.Remove(packs[0], id); err == nil {
				t.Error("who has the credentials removed it")
			}
			s.forgetRead()
			want(t, s, p)
			again := opened(t, o) // which knows of no lock before it asks
			ok(t, s.Close())
			got, err = again.Collect(bg, none, nil)
			ok(t, err)
			if got.Locked != p.Size || !got.LockedUntil.Equal(until) {
				t.Errorf("another process collected %+v", got)
			}
		})
	}
}

// What is leaned on is locked as long as what is put then, before the barrier returns: what was put again, and what was
// found to be here. What was only looked for is not.
func TestWhatIsLeanedOnIsLockedAnew(t *testing.T) {
	srv := newLocking(t)
	o := lockedFor(t, srv, 8<<10, time.Hour)
	s := opened(t, o)
	pieces := some(3, 6000) // a pack each
	for _, p := range pieces {
		kept(t, s, p)
	}
	ok(t, s.Close())
	o.Place.Lock = 100 * time.Hour
	s = opened(t, o)
	if isNew, err := s.Put(bg, pieces[0].Chunk, core.Hash{}, pieces[0].data); isNew || err != nil {
		t.Fatalf("put again: %v, %v", isNew, err)
	}
	if there, err := s.Lean(bg, pieces[1].Hash); !there || err != nil {
		t.Fatalf("leaned on: %v, %v", there, err)
	}
	if there, err := s.Lean(bg, makePiece(9, 1000).Hash); there || err != nil {
		t.Fatalf("what is not here: %v, %v", there, err)
	}
	if there, err := s.Has(bg, pieces[2].Hash); !there || err != nil {
		t.Fatalf("looked for: %v, %v", there, err)
	}
	least := time.Now().Add(100 * time.Hour)
	ok(t, s.Barrier(bg))
	asked := srv.Count(http.MethodPut)
	for i, p := range pieces {
		name, err := s.PackOf(bg, p.Hash)
		ok(t, err)
		until := lockOf(t, srv, o.Place.Prefix+packKey(name))
		if leaned := i < 2; until.Before(least) == leaned {
			t.Errorf("pack %d is locked until %v", i, until)
		}
	}
	for range 3 { // it is locked for a little longer than it has to be, so that this costs nothing
		_, err := s.Lean(bg, pieces[0].Hash)
		ok(t, err)
		ok(t, s.Barrier(bg))
	}
	if n := srv.Count(http.MethodPut) - asked; n > 0 {
		t.Errorf("%d requests for what is locked long enough", n)
	}
	got, err := s.Collect(bg, none, nil)
	ok(t, err)
	if got.Locked != 3*6000 || got.LockedUntil.After(time.Now().Add(2*time.Hour)) || got.AllLockedUntil.Before(least) {
		t.Errorf("collected %+v", got)
	}
}

// A barrier that cannot lock what was leaned on fails, and nothing is acknowledged after it.
func TestABarrierThatCannotLockFails(t *testing.T) {
	srv := newLocking(t)
	o := lockedFor(t, srv, 0, time.Hour)
	s := opened(t, o)
	p := makePiece(1, 1000)
	kept(t, s, p)
	ok(t, s.Close())
	o.Place.Lock = 2 * time.Hour
	s = opened(t, o)
	srv.Answer(func(r *http.Request) (int, string) {
		if r.URL.Query().Has("retention") {
			return http.StatusForbidden, "AccessDenied"
		}
		return 0, ""
	})
	_, err := s.Lean(bg, p.Hash)
	ok(t, err)
	if err := s.Barrier(bg); core.CodeOf(err) != core.CodeRefused || !strings.Contains(core.HintOf(err), "set retention") {
		t.Errorf("barrier: %v, hint %q", err, core.HintOf(err))
	}
	if s.Broken() == nil {
		t.Error("it is not broken")
	}
	srv.Answer(nil)
}

// When its time has come, a collection removes a pack with all its versions, and nothing of it stays in the bucket.
func TestWhatWasLockedGoesWhenItsTimeHasCome(t *testing.T) {
	srv := newLocking(t)
	o := lockedFor(t, srv, 0, time.Second)
	s := opened(t, o)
	p := makePiece(1, 1000)
	kept(t, s, p)
	var freed core.Size
	for end := time.Now().Add(time.Minute); freed == 0 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		got, err := s.Collect(bg, none, nil)
		ok(t, err)
		freed += got.Freed
		if got.Freed+got.Locked != p.Size {
			t.Fatalf("collected %+v", got)
		}
	}
	if left, err := srv.Versions(); left > 0 || err != nil || freed != p.Size {
		t.Errorf("%d versions are left, %v; freed %d", left, err, freed)
	}
	if there, err := s.Has(bg, p.Hash); there || err != nil {
		t.Errorf("it is here: %v, %v", there, err)
	}
	kept(t, s, p)
	want(t, s, p)
}

// Whoever has the credentials can put markers and other bytes over what is locked. The next start takes them away, and
// so does who leans on it.
func TestWhatSomebodyPutOverALockedPackIsTakenAway(t *testing.T) {
	srv := newLocking(t)
	o := lockedFor(t, srv, 8<<10, time.Hour)
	var said strings.Builder
	o.Say = func(format string, args ...any) { said.WriteString(format) }
	s := opened(t, o)
	pieces := some(3, 6000)
	for _, p := range pieces {
		kept(t, s, p)
	}
	packs := keys(t, srv, o)
	spoil := func() {
		t.Helper()
		ok(t, srv.Remove(packs[0], ""))
		ok(t, srv.Put(packs[1], []byte("pay up")))
		ok(t, srv.Remove(packs[1], ""))
		ok(t, srv.Put(packs[2], bytes.Repeat([]byte{7}, 6100)))
	}
	spoil()
	ok(t, s.Close())
	s = opened(t, o)
	want(t, s, pieces...)
	if n, err := srv.Versions(); n != 3 || err != nil || !strings.Contains(said.String(), "they are back") {
		t.Errorf("%d versions, %v; said %q", n, err, said.String())
	}

	spoil()
	ok(t, s.Close())
	o.Place.Lock = 2 * time.Hour
	said.Reset()
	srv.Answer(func(r *http.Request) (int, string) {
		if r.Method == http.MethodDelete {
			return http.StatusForbidden, "AccessDenied"
		}
		return 0, ""
	})
	s = opened(t, o) // it may not take them away now
	if !strings.Contains(said.String(), "cannot be removed") {
		t.Errorf("said %q", said.String())
	}
	srv.Answer(nil)
	for _, p := range pieces {
		_, err := s.Lean(bg, p.Hash)
		ok(t, err)
	}
	ok(t, s.Barrier(bg))
	want(t, s, pieces...)
}

// A pack that went up twice, since the first answer was lost, goes with both versions.
func TestAPackThatWentUpTwiceGoesWhole(t *testing.T) {
	srv := newLocking(t)
	o := lockedFor(t, srv, 0, Unlocked)
	s := opened(t, o)
	p := makePiece(1, 1000)
	kept(t, s, p)
	packs := keys(t, srv, o)
	ok(t, srv.Change(packs[0], bytes.Clone))
	if n, err := srv.Versions(); n != 2 || err != nil {
		t.Fatalf("%d versions, %v", n, err)
	}
	ok(t, s.Close())
	s = opened(t, o)
	if n, err := srv.Versions(); n != 2 || err != nil {
		t.Errorf("%d versions after a start, %v", n, err)
	}
	got, err := s.Collect(bg, none, nil)
	ok(t, err)
	if n, err := srv.Versions(); n != 0 || err != nil || got.Freed != p.Size {
		t.Errorf("%d versions are left, %v; freed %d", n, err, got.Freed)
	}
}

// A bucket without Object Lock is refused before anything is written.
func TestABucketThatCannotLockIsRefused(t *testing.T) {
	srv := newServer(t)
	_, err := Open(bg, lockedFor(t, srv, 0, time.Hour))
	if core.CodeOf(err) != core.CodeRefused || !strings.Contains(core.HintOf(err), "--object-lock-enabled-for-bucket") {
		t.Errorf("%v, hint %q", err, core.HintOf(err))
	}
	if n := srv.Count(http.MethodPut); n > 2 {
		t.Errorf("%d requests wrote something", n)
	}
}

// A server that says it can lock and does not is found out by the first pack.
func TestAServerThatOnlySaysItLocksIsRefused(t *testing.T) {
	if os.Getenv("BKP_TEST_S3") != "" {
		t.Skip("a real server takes no request that was changed on its way")
	}
	srv := newLocking(t)
	s := opened(t, lockedFor(t, srv, 0, time.Hour))
	srv.Answer(func(r *http.Request) (int, string) {
		r.Header.Del("X-Amz-Object-Lock-Retain-Until-Date")
		return 0, ""
	})
	p := makePiece(1, 1000)
	_, err := s.Put(bg, p.Chunk, core.Hash{}, p.data)
	ok(t, err)
	if err := s.Barrier(bg); core.CodeOf(err) != core.CodeRefused || !strings.Contains(err.Error(), "did not lock it") {
		t.Errorf("barrier: %v", err)
	}
	srv.Answer(nil)
}
