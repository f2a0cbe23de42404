// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

func made(size int) (Volume, []byte) {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	in := bytes.NewReader(data)
	once := func(p []byte, at int64) error {
		_, err := in.ReadAt(p, at)
		return err
	}
	return Volume{in, "vms/disk.img", 1, core.Hash{1}, core.Size(size), time.Unix(1e9, 0), once}, data
}

// TestHTTP: ranges by name, and nothing for pages of other sites.
func TestHTTP(t *testing.T) {
	v, data := made(100_000)
	for _, test := range []struct {
		target, host string
		header       [2]string
		code         int
		want         string
	}{
		{"/disk.img", "127.0.0.1:8010", [2]string{}, 200, string(data)},
		{"/disk.img", "localhost:8010", [2]string{"Range", "bytes=1000-1999"}, 206, string(data[1000:2000])},
		{"/disk.img", "[::1]:8010", [2]string{"Range", "bytes=-5"}, 206, string(data[99_995:])},
		{"/disk.img", "127.0.0.1", [2]string{"Range", "bytes=100000-"}, 416, ""},
		{"/other", "127.0.0.1", [2]string{}, 404, "/disk.img is here"},
		{"/disk.img", "evil.example", [2]string{}, 403, "other sites"},
		{"/disk.img", "127.0.0.1", [2]string{"Origin", "https://evil.example"}, 403, "other sites"},
		{"/disk.img", "127.0.0.1", [2]string{"Sec-Fetch-Site", "cross-site"}, 403, "other sites"},
	} {
		r := httptest.NewRequest("GET", test.target, nil)
		if r.Host = test.host; test.header[0] != "" {
			r.Header.Set(test.header[0], test.header[1])
		}
		w := httptest.NewRecorder()
		handler(v, true).ServeHTTP(w, r)
		if w.Code != test.code || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s of %s with %v: %d, %.40q", test.target, test.host, test.header, w.Code, w.Body)
		}
	}
}

// TestMount: the file is there, cannot be changed, and goes with the context.
func TestMount(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil || runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("mounts need Linux, /dev/fuse and root")
	}
	v, data := made(5 << 20)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	said, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- Mount(ctx, dir, v, func(format string, _ ...any) { said <- format }) }()
	select {
	case <-said:
	case err := <-ended:
		t.Skip("no mounts here: ", err)
	}
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left in the directory: %v", left)
		}
	}()
	path := filepath.Join(dir, "disk.img")
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 100)
	if n, err := f.ReadAt(got, 5<<20-50); n != 50 || err != io.EOF || !bytes.Equal(got[:50], data[5<<20-50:]) {
		t.Errorf("across the end: %d, %v", n, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err == nil {
		t.Error("it was written")
	}
	if err := Mount(t.Context(), filepath.Dir(path), v, nil); core.CodeOf(err) != core.CodeUsage {
		t.Errorf("mounted over a file: %v", err)
	}
	if err := Mount(t.Context(), filepath.Join(dir, "none"), v, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("mounted nowhere: %v", err)
	}
}
