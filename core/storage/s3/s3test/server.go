// SPDX-License-Identifier: Apache-2.0

// Package s3test is buckets for tests, whose server misbehaves on demand: one in memory, or where BKP_TEST_S3 is the
// URL of a real server, that one behind a proxy (make s3).
package s3test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Credentials of a server in memory; a real one has those of the environment.
const (
	AccessKey = "access-of-a-test"
	Secret    = "secret-of-a-test"
)

// Server is an empty bucket.
type Server struct {
	URL    string // of the endpoint
	Bucket string
	Key    string // its access key
	Secret string

	web    *httptest.Server
	inner  *httptest.Server
	direct *minio.Client // past what misbehaves
	refuse atomic.Pointer[Refuse]

	mu    sync.Mutex
	asked map[string]int // requests, by method
}

// Refuse says how to answer a request; status 0 lets it pass.
type Refuse func(*http.Request) (status int, code string)

// New starts a server with an empty bucket.
func New() (*Server, error) { return start(false) }

// NewLocking starts one with an empty bucket that has Object Lock.
func NewLocking() (*Server, error) { return start(true) }

func start(locking bool) (*Server, error) {
	s := &Server{Bucket: "bkp-" + strings.ToLower(rand.Text()[:12]), Key: AccessKey, Secret: Secret, asked: map[string]int{}}
	behind, err := s.behind(locking)
	if err != nil {
		return nil, err
	}
	s.inner = httptest.NewServer(behind)
	s.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked[r.Method]++
		s.mu.Unlock()
		if refuse := s.refuse.Load(); refuse != nil {
			if status, code := (*refuse)(r); status != 0 {
				refusal(w, status, code)
				return
			}
		}
		behind.ServeHTTP(w, r)
	}))
	s.URL = s.web.URL
	at, err := url.Parse(s.inner.URL)
	if err == nil {
		s.direct, err = minio.New(at.Host, &minio.Options{Creds: credentials.NewStaticV4(s.Key, s.Secret, ""),
			Region: "us-east-1"})
	}
	if err == nil {
		err = s.direct.MakeBucket(context.Background(), s.Bucket, minio.MakeBucketOptions{ObjectLocking: locking})
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("a bucket for tests: %w", err)
	}
	return s, nil
}

func refusal(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as told</Message></Error>", code)
}

// behind is the server that answers.
func (s *Server) behind(locks bool) (http.Handler, error) {
	if real := os.Getenv("BKP_TEST_S3"); real != "" {
		at, err := url.Parse(real)
		if err != nil {
			return nil, err
		}
		s.Key, s.Secret = os.Getenv("BKP_TEST_S3_KEY"), os.Getenv("BKP_TEST_S3_SECRET")
		// The host stays what the client signed.
		return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = at.Scheme, at.Host, r.In.Host
		}}, nil
	}
	fake := gofakes3.New(s3mem.New(), gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	if locks {
		fake = &locking{behind: fake, bucket: "/" + s.Bucket, objects: map[string][]*version{}, uploads: map[string]*version{}}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+s.Key+"/") {
			refusal(w, http.StatusForbidden, "InvalidAccessKeyId")
			return
		}
		fake.ServeHTTP(w, r)
	}), nil
}

// Close stops the server; what is in a real one stays.
func (s *Server) Close() {
	s.web.Close()
	s.inner.Close()
}

// Answer has requests refused; nil: none.
func (s *Server) Answer(refuse Refuse) {
	if refuse == nil {
		s.refuse.Store(nil)
		return
	}
	s.refuse.Store(&refuse)
}

// Throttle has the server say that it has no time to all but each n-th request.
func (s *Server) Throttle(n int64) {
	var asked atomic.Int64
	s.Answer(func(*http.Request) (int, string) {
		if asked.Add(1)%n == 0 {
			return 0, ""
		}
		return http.StatusServiceUnavailable, "SlowDown"
	})
}

// Count is how many requests there were of a method.
func (s *Server) Count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[method]
}

// Packs is the keys of packs below a prefix.
func (s *Server) Packs(prefix string) (keys []string, err error) {
	for o := range s.direct.ListObjectsIter(context.Background(), s.Bucket, minio.ListObjectsOptions{Prefix: prefix,
		Recursive: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		if strings.HasSuffix(o.Key, ".pack") {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// Change puts another object in an object's place; nil removes it.
func (s *Server) Change(key string, how func([]byte) []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o, err := s.direct.GetObject(ctx, s.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer o.Close()
	data, err := io.ReadAll(o)
	if err != nil {
		return err
	}
	if data = how(data); data == nil {
		return s.direct.RemoveObject(ctx, s.Bucket, key, minio.RemoveObjectOptions{})
	}
	return s.Put(key, data)
}

// Versions is how many versions there are of packs, markers included.
func (s *Server) Versions() (n int, err error) {
	for o := range s.direct.ListObjectsIter(context.Background(), s.Bucket, minio.ListObjectsOptions{Recursive: true,
		WithVersions: true}) {
		if o.Err != nil {
			return 0, o.Err
		}
		if strings.HasSuffix(o.Key, ".pack") {
			n++
		}
	}
	return n, nil
}

// Largest is the key of the largest pack.
func (s *Server) Largest() (key string, err error) {
	size := int64(0)
	for o := range s.direct.ListObjectsIter(context.Background(), s.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			return "", o.Err
		}
		if strings.HasSuffix(o.Key, ".pack") && o.Size > size {
			key, size = o.Key, o.Size
		}
	}
	return key, nil
}

// Lock is until when nobody can remove the newest version of an object, as the server says it; "" for no lock.
func (s *Server) Lock(key string) (until string, err error) {
	info, err := s.direct.StatObject(context.Background(), s.Bucket, key, minio.StatObjectOptions{})
	return info.Metadata.Get(lockUntil), err
}

// Remove removes a version of an object, as who has the credentials does; id "" puts a marker over it.
func (s *Server) Remove(key, id string) error {
	return s.direct.RemoveObject(context.Background(), s.Bucket, key, minio.RemoveObjectOptions{VersionID: id})
}

// Version is the newest version of an object.
func (s *Server) Version(key string) (id string, err error) {
	info, err := s.direct.StatObject(context.Background(), s.Bucket, key, minio.StatObjectOptions{})
	return info.VersionID, err
}

// Put makes an object.
func (s *Server) Put(key string, data []byte) error {
	_, err := s.direct.PutObject(context.Background(), s.Bucket, key, bytes.NewReader(data), int64(len(data)),
		minio.PutObjectOptions{})
	return err
}
