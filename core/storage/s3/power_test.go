// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/storage/s3/s3test"
)

// What a store told somebody about its n-th piece, and what the bucket was asked to do.
type (
	acked   int    // it was acknowledged
	dead    int    // a collection may have removed it
	stored  string // an object
	deleted string // one that was there
)

// TestPowerLossCollect puts, and removes and rewrites packs. In every state that a power loss may leave of what is
// known of them here, with the bucket as it was then, all is there that was acknowledged and is live, and nothing is
// said to be gone that no stranger removed.
func TestPowerLossCollect(t *testing.T) {
	srv := newServer(t)
	o := options(t, srv, 4<<10)
	dir := o.Dir
	o.Dir = filepath.Join(dir, "store")
	r := durabletest.Record(t, dir)
	var mu sync.Mutex
	packs := map[string][]byte{} // that were ever there
	srv.Answer(func(req *http.Request) (int, string) {
		key := strings.TrimPrefix(req.URL.Path, "/"+srv.Bucket+"/")
		switch req.Method {
		case http.MethodPut:
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Error(err)
			}
			req.Body = io.NopCloser(bytes.NewReader(body))
			mu.Lock()
			packs[key] = body
			mu.Unlock()
			r.Promise(stored(key))
		case http.MethodDelete:
			r.Promise(deleted(key))
		}
		return 0, ""
	})
	s := opened(t, o)
	pieces := some(24, 700)
	for i := 0; i < len(pieces); i += 4 {
		kept(t, s, pieces[i:i+4]...)
		for n := i; n < i+4; n++ {
			r.Promise(acked(n))
		}
	}
	live := func(n int) bool { return n >= 8 && n%3 == 0 }
	for n := range pieces {
		if !live(n) {
			r.Promise(dead(n))
		}
	}
	_, err := s.Collect(bg, func(h core.Hash) (bool, error) {
		for n, p := range pieces {
			if p.Hash == h {
				return live(n), nil
			}
		}
		return false, nil
	}, nil)
	ok(t, err)
	ok(t, s.Close())
	r.Stop()
	srv.Answer(nil)
	tried := r.Check(t, durabletest.Budget(2), func(roots []string, promises []any) error {
		return afterLoss(t, o, filepath.Join(roots[0], "store"), packs, pieces, promises)
	})
	if tried < 50 {
		t.Errorf("only %d states were tried", tried)
	}
}

// afterLoss opens what a power loss left, beside a bucket that is as it was then.
func afterLoss(t *testing.T, o Options, dir string, packs map[string][]byte, pieces []piece, promises []any) error {
	srv, err := s3test.New() // with the credentials of the first: states are tried at once, and share the environment
	if err != nil {
		return err
	}
	defer srv.Close()
	there, must := map[string]bool{}, map[int]bool{}
	for _, p := range promises {
		switch p := p.(type) {
		case stored:
			there[string(p)] = true
		case deleted:
			delete(there, string(p))
		case acked:
			must[int(p)] = true
		case dead:
			delete(must, int(p))
		}
	}
	for key := range there {
		err := srv.Put(key, packs[key])
		if err != nil {
			return err
		}
	}
	var said strings.Builder
	o.Place, o.Dir = placeIn(t, srv, o.Place.Prefix), dir
	o.Say = func(format string, args ...any) { fmt.Fprintf(&said, format, args...) }
	s, err := Open(bg, o)
	if err != nil {
		return err
	}
	defer s.Close()
	if strings.Contains(said.String(), "gone") {
		return errors.New(said.String())
	}
	for n := range must {
		if got, err := s.Get(bg, pieces[n].Hash, nil); err != nil || !bytes.Equal(got, pieces[n].data) {
			return fmt.Errorf("piece %d comes back as %d bytes, %w", n, len(got), err)
		}
	}
	return s.Close()
}
