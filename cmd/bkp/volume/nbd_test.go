// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/volume/nbd/nbdtest"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// running is a block device that is served until end is called.
type running struct {
	said   chan control.Status
	client *nbdtest.Client
	end    func() error
}

func serve(t *testing.T, dir string, v Volume, args control.OpenArgs) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := running{said: make(chan control.Status, 1000)}
	ended := make(chan error, 1)
	args.NBD = "127.0.0.1:0"
	go func() { ended <- serveNBD(ctx, dir, v, args, func(s control.Status) { r.said <- s }) }()
	var at []string
	select {
	case s := <-r.said:
		at = regexp.MustCompile(`nbd://(.*)/disk\.img until`).FindStringSubmatch(s.Text)
	case err := <-ended:
		t.Fatal(err)
	}
	var err error
	if r.client, err = nbdtest.Dial(at[1], "disk.img"); err != nil {
		t.Fatal(err)
	}
	r.end = func() error {
		r.client.Conn.Close()
		cancel()
		return <-ended
	}
	return r
}

// await is the next that is said and fits.
func (r running) await(t *testing.T, words string) control.Status {
	t.Helper()
	for {
		select {
		case s := <-r.said:
			if strings.Contains(s.Text, words) {
				return s
			}
		case <-time.After(time.Minute):
			t.Fatalf("nobody said %q", words)
		}
	}
}

// lost is a source that is gone at some time.
type lost struct {
	*bytes.Reader
	gone atomic.Bool
}

func (l *lost) ReadAt(p []byte, at int64) (int, error) {
	if l.gone.Load() {
		return 0, errors.New("no holder is there")
	}
	return l.Reader.ReadAt(p, at)
}

// TestNBDKeepsWritesApart: what is written is read back, by the next one too where the file is named; the version stays
// as it is, and nothing is left of a file that is not named.
func TestNBDKeepsWritesApart(t *testing.T) {
	v, data := made(3<<20 + 5)
	dir := t.TempDir()
	overlay := filepath.Join(dir, "changes")
	want := bytes.Clone(data)
	copy(want[1<<20-3:], "written")
	for _, step := range []struct {
		args  control.OpenArgs
		write bool
		want  []byte
		left  int // files
	}{
		{control.OpenArgs{}, true, want, 0},
		{control.OpenArgs{}, false, data, 0},
		{control.OpenArgs{Overlay: overlay}, true, want, 1},
		{control.OpenArgs{Overlay: overlay}, false, want, 1},
		{control.OpenArgs{Overlay: overlay, ReadOnly: true}, false, want, 1},
		{control.OpenArgs{ReadOnly: true}, false, data, 1},
	} {
		r := serve(t, dir, v, step.args)
		if step.write {
			if _, err := r.client.WriteAt([]byte("written"), 1<<20-3); err != nil {
				t.Error(err)
			}
		}
		got := make([]byte, len(data))
		if _, err := r.client.ReadAt(got, 0); err != nil || !bytes.Equal(got, step.want) {
			t.Errorf("%+v: it reads otherwise (%v)", step.args, err)
		}
		if step.args.ReadOnly {
			if _, err := r.client.WriteAt([]byte("x"), 0); err != nbdtest.Errno(1) {
				t.Errorf("%+v: written: %v", step.args, err)
			}
		}
		if err := r.end(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(dir); len(left) != step.left {
			t.Errorf("%+v: left %v", step.args, left)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = serveNBD(t.Context(), dir, v, control.OpenArgs{NBD: l.Addr().String()}, nil)
	if !strings.Contains(core.HintOf(err), "--nbd HOST:PORT") {
		t.Errorf("an address that is taken: %v, hint %q", err, core.HintOf(err))
	}
}

// TestNBDFetch: all of it is brought meanwhile, but where something was written, and then no holder is needed.
func TestNBDFetch(t *testing.T) {
	v, data := made(5<<20 + 5)
	source := &lost{Reader: bytes.NewReader(data)}
	v.ReaderAt = source
	begin := make(chan struct{})
	v.ReadOnce = func(p []byte, at int64) error {
		<-begin
		_, err := source.ReadAt(p, at)
		return err
	}
	want := bytes.Clone(data)
	copy(want[2<<20+100:], "written")
	named := filepath.Join(t.TempDir(), "changes")
	for _, args := range []control.OpenArgs{{Fetch: true, Overlay: named}, {Fetch: true}} {
		r := serve(t, t.TempDir(), v, args)
		if _, err := r.client.WriteAt([]byte("written"), 2<<20+100); err != nil {
			t.Error(err)
		}
		if begin != nil {
			close(begin)
		}
		r.await(t, "all of it is on this machine now")
		source.gone.Store(true)
		got := make([]byte, len(data))
		if _, err := r.client.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("it reads otherwise (%v)", err)
		}
		if err := r.end(); err != nil {
			t.Error(err)
		}
		source.gone.Store(false)
		begin = nil
		v.ReadOnce = func(p []byte, at int64) error {
			_, err := source.ReadAt(p, at)
			return err
		}
	}
}

// TestNBDSaysWhyItFails: a client learns that a read failed, and the user why, once.
func TestNBDSaysWhyItFails(t *testing.T) {
	v, _ := made(1 << 20)
	source := &lost{Reader: v.ReaderAt.(*bytes.Reader)}
	v.ReaderAt = source
	r := serve(t, t.TempDir(), v, control.OpenArgs{})
	source.gone.Store(true)
	for range 5 {
		if _, err := r.client.ReadAt(make([]byte, 10), 0); err != nbdtest.Errno(5) {
			t.Errorf("a read without a holder: %v", err)
		}
	}
	if s := r.await(t, "no holder is there"); !s.Warning || s.Text != "read: no holder is there" {
		t.Errorf("told %+v", s)
	}
	source.gone.Store(false)
	if _, err := r.client.ReadAt(make([]byte, 10), 0); err != nil {
		t.Errorf("with a holder again: %v", err)
	}
	if err := r.end(); err != nil || len(r.said) > 0 {
		t.Errorf("%v; said besides: %d", err, len(r.said))
	}
}
