// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/storagetest"
)

// server is a bucket in memory that misbehaves on demand.
type server struct {
	*httptest.Server
	backend *s3mem.Backend
	refuse  atomic.Pointer[func(*http.Request) (status int, code string)] // answers instead, where status is not 0

	mu    sync.Mutex
	asked map[string]int // requests, by method
}

const bucketName = "packs"

func newServer(t testing.TB) *server {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "fake")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "fake secret")
	s := &server{backend: s3mem.New(), asked: map[string]int{}}
	if err := s.backend.CreateBucket(bucketName); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked[r.Method]++
		s.mu.Unlock()
		if refuse := s.refuse.Load(); refuse != nil {
			if status, code := (*refuse)(r); status != 0 {
				w.WriteHeader(status)
				fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as told</Message></Error>", code)
				return
			}
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// answer has requests refused; nil: none.
func (s *server) answer(refuse func(*http.Request) (status int, code string)) {
	if refuse == nil {
		s.refuse.Store(nil)
		return
	}
	s.refuse.Store(&refuse)
}

func (s *server) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[method]
}

func (s *server) place(t testing.TB, prefix string) Place {
	t.Helper()
	p, err := Parse("s3://" + bucketName + "/" + prefix + "?endpoint=" + s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// keys is the objects of packs below a prefix.
func (s *server) keys(t testing.TB, prefix string) (keys []string) {
	t.Helper()
	list, err := s.backend.ListBucket(bucketName, &gofakes3.Prefix{HasPrefix: true, Prefix: prefix}, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		if strings.HasSuffix(o.Key, ".pack") {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// conforming is a prefix under test.
type conforming Options

func (c conforming) Open() (storage.Collector, error) { return Open(context.Background(), Options(c)) }

var prefixes atomic.Int64

func (s *server) options(t testing.TB, packSize int64) Options {
	t.Helper()
	return Options{Place: s.place(t, fmt.Sprint("p", prefixes.Add(1))), Dir: t.TempDir(), Node: core.ID{1}, packSize: packSize}
}

func TestConformance(t *testing.T) {
	for name, size := range map[string]int64{"one pack": packSize, "small packs": 4 << 10} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			storagetest.Test(t, func(t *testing.T) storagetest.Place { return conforming(s.options(t, size)) })
		})
	}
}
