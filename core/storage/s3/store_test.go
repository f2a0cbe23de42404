// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

var bg = context.Background()

func init() { minio.DefaultRetryUnit = time.Millisecond }

// piece is made-up stored bytes.
type piece struct {
	core.Chunk
	data []byte
}

func makePiece(n, size int) piece {
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = r.Read(data)
	return piece{core.Chunk{Hash: blake3.Sum256(data), Size: core.Size(size)}, data}
}

func some(n, size int) (pieces []piece) {
	for i := range n {
		pieces = append(pieces, makePiece(i, size))
	}
	return pieces
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(bg, o)
	ok(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// kept puts pieces, and returns when they are durable.
func kept(t testing.TB, s *Store, pieces ...piece) {
	t.Helper()
	for _, p := range pieces {
		if _, err := s.Put(bg, p.Chunk, core.Hash{}, p.data); err != nil {
			t.Fatal(err)
		}
	}
	ok(t, s.Barrier(bg))
}

func want(t testing.TB, s *Store, pieces ...piece) {
	t.Helper()
	for i, p := range pieces {
		if got, err := s.Get(bg, p.Hash, nil); err != nil || !bytes.Equal(got, p.data) {
			t.Fatalf("piece %d comes back as %d bytes, %v", i, len(got), err)
		}
	}
}

// forgetRead has all read from the bucket that is read next.
func (s *Store) forgetRead() {
	s.packs.read.mu.Lock()
	defer s.packs.read.mu.Unlock()
	s.packs.read.read, s.packs.read.bytes = nil, 0
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 1
		return b
	}
}

// What was acknowledged is found from the bucket alone: with all that is known of it here gone, with none but its end
// lost, and with it damaged. What a process that died left in the bucket is found as well.
func TestAllIsFoundFromTheBucketAlone(t *testing.T) {
	srv := newServer(t)
	for name, lose := range map[string]func(dir string) error{
		"nothing":           func(string) error { return nil },
		"the whole cache":   os.RemoveAll,
		"the merged tables": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "index")) },
		"a shadow": func(dir string) error {
			shadows, err := filepath.Glob(filepath.Join(dir, "packs", "*.pack"))
			return errors.Join(err, os.Remove(shadows[len(shadows)/2]))
		},
		"what shadows say": func(dir string) error {
			shadows, err := filepath.Glob(filepath.Join(dir, "packs", "*.pack"))
			for _, path := range shadows {
				info, statErr := os.Stat(path)
				err = errors.Join(err, statErr, os.Truncate(path, info.Size()-1), os.Truncate(path, info.Size()))
			}
			return err
		},
	} {
		for _, merged := range []bool{false, true} {
			t.Run(fmt.Sprint(name, merged), func(t *testing.T) {
				o := options(t, srv, 8<<10)
				s := opened(t, o)
				pieces := some(30, 1000)
				kept(t, s, pieces[:20]...)
				for _, p := range pieces[20:] {
					_, err := s.Put(bg, p.Chunk, core.Hash{}, p.data)
					ok(t, err)
				}
				ok(t, s.Close())
				if merged {
					s = opened(t, o)
					ok(t, s.Compact())
					ok(t, s.Close())
				}
				ok(t, lose(o.Dir))
				reader, err := OpenRead(bg, o)
				ok(t, err)
				defer reader.Close()
				if name != "a shadow" { // who only reads looks into the bucket where nothing is known
					want(t, reader, pieces...)
				}
				s = opened(t, o)
				want(t, s, pieces...)
				if used, err := s.Used(bg); err != nil || used != 30*1000 {
					t.Errorf("used %d, %v", used, err)
				}
				kept(t, s, makePiece(100, 1000))
			})
		}
	}
}

// A process that was killed while a pack went up leaves an upload in parts, which is aborted; one that was killed while
// a pack was going leaves its object, which goes.
func TestWhatADeadProcessLeftIsTidied(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 8<<10)
	s := opened(t, o)
	pieces := some(4, 3000)
	kept(t, s, pieces[:2]...)
	_, err := s.packs.bucket.client.NewMultipartUpload(bg, srv.Bucket, o.Place.Prefix+packKey(pack.NewName()), minio.PutObjectOptions{})
	ok(t, err)
	other := opened(t, o) // nobody knows whose it is while somebody lives
	if left, err := s.packs.bucket.uploads(bg); err != nil || len(left) != 1 {
		t.Fatalf("uploads %v, %v", left, err)
	}
	ok(t, other.Close())

	srv.Answer(func(r *http.Request) (int, string) {
		if r.Method == http.MethodDelete {
			return http.StatusForbidden, "AccessDenied"
		}
		return 0, ""
	})
	none := func(core.Hash) (bool, error) { return false, nil }
	if _, err := s.Collect(bg, none, nil); core.CodeOf(err) != core.CodeRefused {
		t.Errorf("collect: %v", err)
	}
	ok(t, s.Close())
	srv.Answer(nil)
	if left := keys(t, srv, o); len(left) != 1 {
		t.Fatalf("objects %v", left)
	}
	s = opened(t, o)
	if left, err := s.packs.bucket.uploads(bg); err != nil || len(left) != 0 {
		t.Errorf("uploads %v, %v", left, err)
	}
	if left := keys(t, srv, o); len(left) != 0 {
		t.Errorf("objects %v", left)
	}
	if has, err := s.Has(bg, pieces[0].Hash); has || err != nil {
		t.Errorf("what was collected is here: %v, %v", has, err)
	}
	kept(t, s, pieces...)
	want(t, s, pieces...)
}

// A barrier returns when the bucket has said that it has everything: not before, and not where it has not.
func TestABarrierMeansThatTheBucketHasIt(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 8<<10)
	s := opened(t, o)
	pieces := some(20, 1000)
	var told sync.WaitGroup
	for i := range 4 {
		told.Go(func() {
			for _, p := range pieces[5*i : 5*i+5] {
				if _, err := s.Put(bg, p.Chunk, core.Hash{}, p.data); err != nil {
					t.Error(err)
				}
				if err := s.Barrier(bg); err != nil {
					t.Error(err)
				}
				elsewhere := o
				elsewhere.Dir = t.TempDir()
				other, err := OpenRead(bg, elsewhere)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := other.Get(bg, p.Hash, nil); err != nil || !bytes.Equal(got, p.data) {
					t.Errorf("what was acknowledged is not in the bucket: %v", err)
				}
				other.Close()
			}
		})
	}
	told.Wait()

	srv.Answer(func(r *http.Request) (int, string) {
		if r.Method == http.MethodPut {
			return http.StatusForbidden, "AccessDenied"
		}
		return 0, ""
	})
	lost := makePiece(100, 1000)
	_, err := s.Put(bg, lost.Chunk, core.Hash{}, lost.data)
	ok(t, err)
	if err := s.Barrier(bg); core.CodeOf(err) != core.CodeRefused || core.HintOf(err) == "" {
		t.Errorf("barrier: %v", err)
	}
	srv.Answer(nil)
	if err := s.Barrier(bg); err == nil {
		t.Error("a barrier after one that failed")
	}
	if _, err := s.Put(bg, lost.Chunk, core.Hash{}, lost.data); err == nil {
		t.Error("put after a barrier that failed")
	}
	if s.Broken() == nil {
		t.Error("it is not broken")
	}
	want(t, s, pieces...)
	_ = s.Close()
	s = opened(t, o)
	if has, err := s.Has(bg, lost.Hash); has || err != nil {
		t.Errorf("what was never acknowledged: %v, %v", has, err)
	}
	kept(t, s, lost)
	want(t, s, lost)
}

// Who is to end does not wait for a bucket that does not answer.
func TestNobodyWaitsForABucketForEver(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 8<<10)
	until, end := context.WithCancel(bg)
	o.Until = until
	s := opened(t, o)
	srv.Throttle(1 << 30)
	p := makePiece(1, 1000)
	_, err := s.Put(bg, p.Chunk, core.Hash{}, p.data)
	ok(t, err)
	waits := make(chan error)
	go func() { waits <- s.Barrier(bg) }()
	select {
	case err := <-waits:
		t.Fatalf("it is given up at once: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	old := closePatience
	closePatience = time.Millisecond
	t.Cleanup(func() { closePatience = old })
	end()
	if err := <-waits; err == nil {
		t.Error("what is not in the bucket was acknowledged")
	}
	ended := s.Close()
	srv.Answer(nil)
	if ended == nil {
		t.Error("it is closed as if all were there")
	}
}

// What is wrong in the bucket is named, and never taken for something else; who puts it anew makes it whole.
func TestDamageInTheBucket(t *testing.T) {
	srv := newServer(t)
	for name, how := range map[string]func([]byte) []byte{
		"data":              flip(pack.HeaderSize + pack.RecordHeader + 500),
		"the record's head": flip(pack.HeaderSize + 20),
		"cut":               func(b []byte) []byte { return b[:100] },
		"gone":              func([]byte) []byte { return nil },
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprint(name, restarted), func(t *testing.T) {
				o := options(t, srv, 8<<10)
				var said strings.Builder
				o.Say = func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) }
				s := opened(t, o)
				pieces := some(5, 1000)
				kept(t, s, pieces...)
				ok(t, srv.Change(keys(t, srv, o)[0], how))
				if restarted {
					ok(t, s.Close())
					s = opened(t, o)
				}
				gone := restarted && name == "gone"
				var damage []check.Damage
				ok(t, s.Check(bg, "", func(core.Hash) bool { return true }, func(c check.Checked) error {
					damage = append(damage, c.Damage...)
					return nil
				}))
				if len(damage) == 0 != gone {
					t.Errorf("check finds %+v", damage)
				}
				_, err := s.Get(bg, pieces[0].Hash, nil)
				if gone && (!errors.Is(err, core.ErrNotFound) || !strings.Contains(said.String(), "1 of 1 packs are gone")) {
					t.Errorf("get: %v; said %q", err, said.String())
				}
				if !gone && core.CodeOf(err) != core.CodeWrong {
					t.Errorf("get: %v", err)
				}
				if has, err := s.Has(bg, pieces[0].Hash); has || err != nil {
					t.Errorf("has: %v, %v", has, err)
				}
				if _, err := s.Get(bg, pieces[4].Hash, nil); name == "cut" && core.CodeOf(err) != core.CodeWrong {
					t.Errorf("get what stood behind the end: %v", err)
				}
				kept(t, s, pieces[0])
				want(t, s, pieces[0])
			})
		}
	}
}

// A pack whose table is damaged in the bucket is read through where nothing is known of it here.
func TestATableThatIsDamagedInTheBucket(t *testing.T) {
	srv := newServer(t)
	for name, at := range map[string]int{"its hash": -1, "a row": -200, "its head": -45} {
		o := options(t, srv, 8<<10)
		s := opened(t, o)
		pieces := some(6, 1000)
		kept(t, s, pieces...)
		ok(t, srv.Change(keys(t, srv, o)[0], flip(at)))
		ok(t, s.Close())
		ok(t, os.RemoveAll(o.Dir))
		s = opened(t, o)
		t.Log(name)
		want(t, s, pieces...)
	}
}

// A bucket that has no time is asked again, and who is to know hears of it once, and once that it is over.
func TestABucketThatHasNoTimeIsAskedAgain(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 8<<10)
	var mu sync.Mutex
	var heard []error
	o.Trouble = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, err)
	}
	s := opened(t, o)
	s.packs.bucket.quiet, s.packs.bucket.pause = 0, time.Millisecond
	srv.Throttle(5)
	pieces := some(3, 3000)
	kept(t, s, pieces...)
	s.forgetRead()
	want(t, s, pieces...)
	if _, err := s.Collect(bg, func(core.Hash) (bool, error) { return false, nil }, nil); err != nil {
		t.Error(err)
	}
	if len(heard) == 0 || heard[0] == nil || !strings.Contains(heard[0].Error(), "SlowDown") || heard[len(heard)-1] != nil {
		t.Errorf("heard %v", heard)
	}
	if left := keys(t, srv, o); len(left) > 0 {
		t.Errorf("objects %v", left)
	}
}

// "Did not answer" and "may not" are neither "is not here" nor "is damaged".
func TestWhatCouldNotBeFoundOutIsNoAnswer(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 8<<10)
	s := opened(t, o)
	pieces := some(3, 3000)
	kept(t, s, pieces...)
	for name, answer := range map[string]func(*http.Request) (int, string){
		"refused":   func(*http.Request) (int, string) { return http.StatusForbidden, "AccessDenied" },
		"no time":   func(*http.Request) (int, string) { return http.StatusServiceUnavailable, "SlowDown" },
		"no bucket": func(*http.Request) (int, string) { return http.StatusNotFound, "NoSuchBucket" },
	} {
		srv.Answer(answer)
		s.packs.bucket.patience = 1 // a nanosecond
		_, err := s.Get(bg, pieces[0].Hash, nil)
		if err == nil || errors.Is(err, core.ErrNotFound) || core.CodeOf(err) == core.CodeWrong {
			t.Errorf("%s: %v", name, err)
		}
		srv.Answer(nil)
		want(t, s, pieces...)
		if notes, _ := os.ReadDir(filepath.Join(o.Dir, "damaged")); len(notes) > 0 {
			t.Errorf("%s: it is noted as damaged", name)
		}
		s.forgetRead()
	}
}

// Who cannot be served is told why, with the next step, and soon; no credential is ever said.
func TestWhoIsRefusedIsToldWhatToDo(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 0)
	for code, want := range map[string]struct {
		status int
		code   core.Code
		hint   string
	}{
		"InvalidAccessKeyId":           {http.StatusForbidden, core.CodeRefused, "AWS_ACCESS_KEY_ID"},
		"SignatureDoesNotMatch":        {http.StatusForbidden, core.CodeRefused, "AWS_ACCESS_KEY_ID"},
		"AccessDenied":                 {http.StatusForbidden, core.CodeRefused, "right to list, read, write"},
		"XAdminUserNotFound":           {http.StatusNotFound, core.CodeRefused, "AWS_ACCESS_KEY_ID"},
		"SomethingOfItsOwn":            {http.StatusForbidden, core.CodeRefused, "AWS_ACCESS_KEY_ID"},
		"NoSuchBucket":                 {http.StatusNotFound, core.CodeNoName, "make it first"},
		"AuthorizationHeaderMalformed": {http.StatusBadRequest, core.CodeFailed, "region=NAME"},
	} {
		srv.Answer(func(*http.Request) (int, string) { return want.status, code })
		_, err := Open(bg, o)
		if core.CodeOf(err) != want.code || !strings.Contains(core.HintOf(err), want.hint) {
			t.Errorf("%s: code %d, %v, hint %q", code, core.CodeOf(err), err, core.HintOf(err))
		}
		if strings.Contains(fmt.Sprint(err), srv.Key) || strings.Contains(fmt.Sprint(err), srv.Secret) {
			t.Errorf("%s: a credential is said: %v", code, err)
		}
	}
	srv.Answer(nil)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	_, err := Open(bg, o)
	if core.CodeOf(err) != core.CodeRefused || !strings.Contains(core.HintOf(err), "AWS_ACCESS_KEY_ID") {
		t.Errorf("no credentials: %v, hint %q", err, core.HintOf(err))
	}
	// Who knows what stands there already can tell what is not there without any.
	path := filepath.Join(t.TempDir(), "credentials")
	ok(t, os.WriteFile(path, (fmt.Appendf(nil, "[backups]\naws_access_key_id = %s\naws_secret_access_key = %s\n", srv.Key, srv.Secret)), 0o600))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
	o.Place.Profile = "backups"
	s := opened(t, o)
	p := makePiece(1, 1000)
	kept(t, s, p)
	ok(t, s.Close())
	o.Place.Profile = ""
	reader, err := OpenRead(bg, o)
	ok(t, err)
	defer reader.Close()
	if has, err := reader.Has(bg, p.Hash); !has || err != nil {
		t.Errorf("has: %v, %v", has, err)
	}
	if _, err := reader.Get(bg, p.Hash, nil); core.CodeOf(err) != core.CodeRefused || core.HintOf(err) == "" {
		t.Errorf("get without credentials: %v", err)
	}
}

// Two nodes never write to one place.
func TestAnotherNodesPlaceIsRefused(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 0)
	ok(t, opened(t, o).Close())
	o.Dir, o.Node = t.TempDir(), core.ID{2}
	for name, open := range map[string]func(context.Context, Options) (*Store, error){"write": Open, "read": OpenRead} {
		_, err := open(bg, o)
		if core.CodeOf(err) != core.CodeRefused || !strings.Contains(core.HintOf(err), "prefix") {
			t.Errorf("%s: %v, hint %q", name, err, core.HintOf(err))
		}
	}
}

// Chunks that are read in order cost a request for megabytes, those that are read at random one each; many who want the
// same share one.
func TestReadingAhead(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 0)
	s := opened(t, o)
	pieces := some(60, 250_000)
	kept(t, s, pieces...)
	ok(t, s.Close())
	s = opened(t, o)
	before := srv.Count(http.MethodGet)
	want(t, s, pieces...)
	s.packs.read.close()
	if n := srv.Count(http.MethodGet) - before; n < 3 || n > 8 {
		t.Errorf("%d requests for 15 MB in order", n)
	}
	ok(t, s.Close())
	s = opened(t, o)
	before = srv.Count(http.MethodGet)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, i := range []int{40, 3, 25, 55, 13} {
				if got, err := s.Get(bg, pieces[i].Hash, nil); err != nil || !bytes.Equal(got, pieces[i].data) {
					t.Errorf("piece %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	if n := srv.Count(http.MethodGet) - before; n != 5 {
		t.Errorf("%d requests for five chunks that eight want", n)
	}
}

// A record that is longer than a part goes up in parts.
func TestALongRecordGoesUpInParts(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 0)
	s := opened(t, o)
	p := makePiece(1, partSize+1000)
	kept(t, s, p)
	if srv.Count(http.MethodPost) != 2 {
		t.Errorf("%d requests begin or end an upload", srv.Count(http.MethodPost))
	}
	ok(t, s.Close())
	ok(t, os.RemoveAll(o.Dir))
	want(t, opened(t, o), p)
}

// A record is put out of its half dead pack into a new one, as on disk, and many small packs become one.
func TestCollectionRewrites(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 0)
	s := opened(t, o)
	pieces := some(24, 1000)
	for _, p := range pieces {
		kept(t, s, p)
	}
	if n := len(keys(t, srv, o)); n != 24 {
		t.Fatalf("%d packs for 24 barriers", n)
	}
	live := map[core.Hash]bool{}
	for _, p := range pieces[:12] {
		live[p.Hash] = true
	}
	got, err := s.Collect(bg, func(h core.Hash) (bool, error) { return live[h], nil }, nil)
	ok(t, err)
	if n := len(keys(t, srv, o)); n != 1 || got.Freed != 12*1000 {
		t.Errorf("%d packs are left, %+v", n, got)
	}
	ok(t, s.Close())
	ok(t, os.RemoveAll(o.Dir))
	s = opened(t, o)
	want(t, s, pieces[:12]...)
	for _, p := range pieces[12:] {
		if has, err := s.Has(bg, p.Hash); has || err != nil {
			t.Errorf("has: %v, %v", has, err)
		}
	}
}
