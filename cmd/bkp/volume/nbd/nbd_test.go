// SPDX-License-Identifier: Apache-2.0

package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/cmd/bkp/volume/nbd"
	"github.com/bkp-tool/bkp/cmd/bkp/volume/nbd/nbdtest"
)

// memory is a device of bytes.
type memory struct {
	mu      sync.Mutex
	data    []byte
	syncs   int64
	trimmed int64
	zeroed  int64         // with Zero
	fails   error         // what each call comes to
	hold    chan struct{} // reads wait until it is closed
}

func (m *memory) ReadAt(p []byte, at int64) (int, error) {
	if m.hold != nil {
		<-m.hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return 0, m.fails
	}
	n := copy(p, m.data[at:])
	if at+int64(n) == int64(len(m.data)) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(p []byte, at int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return 0, m.fails
	}
	return copy(m.data[at:], p), nil
}

func (m *memory) Zero(at, length int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.data[at : at+length])
	m.zeroed += length
	return m.fails
}

func (m *memory) Trim(_, length int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trimmed += length
	return m.fails
}

func (m *memory) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.syncs++
	return m.fails
}

// fail has each call come to err.
func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = err
}

// was is how many syncs there were, and how many bytes were zeroed and trimmed.
func (m *memory) was() [3]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return [3]int64{m.syncs, m.zeroed, m.trimmed}
}

// content is what is on it.
func (m *memory) content() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.data)
}

// served is where an export is served until the test ends.
func served(t *testing.T, e *nbd.Export) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- nbd.Serve(ctx, l, e) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dialled(t *testing.T, address, name string) *nbdtest.Client {
	t.Helper()
	c, err := nbdtest.Dial(address, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Conn.Close() })
	return c
}

const size = 1<<20 + 77

func exported() (*nbd.Export, *memory) {
	m := &memory{data: make([]byte, size)}
	rand.NewChaCha8([32]byte{7}).Read(m.data)
	return &nbd.Export{Names: []string{"disk.img", "vms/disk.img"}, Size: size, Device: m}, m
}

// TestReadsAndWrites: what is written is there, and what is asked to be durable is synced.
func TestReadsAndWrites(t *testing.T) {
	e, m := exported()
	want := bytes.Clone(m.data)
	c := dialled(t, served(t, e), "vms/disk.img")
	if c.Size != size || c.Flags != 1|4|8|32|64|256 {
		t.Errorf("%d bytes, flags %#x", c.Size, c.Flags)
	}
	check := func(what string, err error) {
		t.Helper()
		got := make([]byte, size)
		if _, readErr := c.ReadAt(got, 0); err != nil || readErr != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %v", what, err, readErr)
		}
	}
	check("read", nil)
	p := bytes.Repeat([]byte("written"), 5000)
	copy(want[777:], p)
	check("write", c.Do(nbdtest.Write, 0, 777, uint32(len(p)), p))
	if got := m.was(); got != [3]int64{} {
		t.Errorf("syncs, zeroed, trimmed that nobody asked for: %d", got)
	}
	check("flush", c.Do(nbdtest.Flush, 0, 0, 0, nil))
	copy(want[size-7:], p)
	check("write at the end, FUA", c.Do(nbdtest.Write, nbdtest.FUA, size-7, 7, p[:7]))
	clear(want[1000:70_000])
	check("zeros, FUA", c.Do(nbdtest.WriteZeroes, nbdtest.FUA, 1000, 69_000, nil))
	if got := m.was(); got != [3]int64{3, 69_000, 0} {
		t.Errorf("syncs, zeroed, trimmed: %d", got)
	}
	clear(want[5:])
	check("zeros that take room", c.Do(nbdtest.WriteZeroes, 2, 5, size-5, nil))
	check("trim", c.Do(nbdtest.Trim, 0, 0, 4096, nil))
	if got := m.was(); got != [3]int64{3, 69_000, 4096} {
		t.Errorf("syncs, zeroed, trimmed: %d", got)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestWrongRequests: each is refused with its number, and the connection goes on.
func TestWrongRequests(t *testing.T) {
	const perm, inval, space = nbdtest.Errno(1), nbdtest.Errno(22), nbdtest.Errno(28)
	e, m := exported()
	want := bytes.Clone(m.data)
	readOnly := *e
	readOnly.ReadOnly = true
	c, r := dialled(t, served(t, e), ""), dialled(t, served(t, &readOnly), "disk.img")
	if r.Flags != 1|2|4|256 {
		t.Errorf("read-only: flags %#x", r.Flags)
	}
	p := make([]byte, 4096)
	for _, test := range []struct {
		what           string
		c              *nbdtest.Client
		command, flags uint16
		at             int64
		length         uint32
		want           error
	}{
		{"read past the end", c, nbdtest.Read, 0, size - 10, 11, inval},
		{"read far past the end", c, nbdtest.Read, 0, -1, 1, inval},
		{"read too much", c, nbdtest.Read, 0, 0, nbd.MaxPayload + 1, inval},
		{"write past the end", c, nbdtest.Write, 0, size - 10, 4096, space},
		{"zeros past the end", c, nbdtest.WriteZeroes, 0, size - 10, 11, space},
		{"trim past the end", c, nbdtest.Trim, 0, size - 10, 11, inval},
		{"a flag that is not known", c, nbdtest.Write, 4, 0, 4096, inval},
		{"fast zeros", c, nbdtest.WriteZeroes, 16, 0, 10, inval},
		{"a command that is not known", c, 77, 0, 0, 0, inval},
		{"write, read-only", r, nbdtest.Write, 0, 0, 4096, perm},
		{"zeros, read-only", r, nbdtest.WriteZeroes, 0, 0, 10, perm},
		{"trim, read-only", r, nbdtest.Trim, 0, 0, 10, perm},
		{"read, read-only", r, nbdtest.Read, 0, 0, 4096, nil},
		{"flush, read-only", r, nbdtest.Flush, 0, 0, 0, nil},
	} {
		if err := test.c.Do(test.command, test.flags, test.at, test.length, p); err != test.want {
			t.Errorf("%s: %v, want %v", test.what, err, test.want)
		}
	}
	if !bytes.Equal(m.content(), want) {
		t.Error("something was written")
	}
	m.fail(errors.New("no holder is there"))
	if err := c.Do(nbdtest.Read, 0, 0, 4096, p); err != nbdtest.Errno(5) {
		t.Errorf("a read that fails: %v", err)
	}
	m.fail(syscall.ENOSPC)
	if err := c.Do(nbdtest.Write, 0, 0, 4096, p); err != space {
		t.Errorf("a write to a full disk: %v", err)
	}
}

// TestHandshake: names are listed, what is not known is said to be so, and then an export can be chosen still.
func TestHandshake(t *testing.T) {
	e, _ := exported()
	address := served(t, e)
	if _, err := nbdtest.Dial(address, "other"); err == nil {
		t.Error("an export that is not there was chosen")
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := nbdtest.Hello(conn); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		option  uint32
		data    string
		replies []uint32
		told    string
	}{
		{5, "", []uint32{1<<31 + 1}, ""},  // STARTTLS
		{10, "", []uint32{1<<31 + 1}, ""}, // SET_META_CONTEXT
		{8, "x", []uint32{1<<31 + 3}, ""},
		{3, "", []uint32{2, 1}, "\x00\x00\x00\x08disk.img"}, // LIST
		{3, "x", []uint32{1<<31 + 3}, ""},
		{6, "\x00\x00\x00\x05other\x00\x00", []uint32{1<<31 + 6}, "here is disk.img"},
		{6, "\x00\x00\x00\x09other\x00\x00", []uint32{1<<31 + 3}, ""},
		{6, "\x00\x00\x00\x00\x00\x02\x00\x03", []uint32{1<<31 + 3}, ""},
		{6, "\x00\x00\x00\x00\x00\x01\x00\x03", []uint32{3, 3, 1},
			"\x00\x00\x00\x00\x00\x00\x00\x10\x00\x4d\x01\x6d\x00\x03\x00\x00\x00\x01\x00\x00\x10\x00\x02\x00\x00\x00"},
	} {
		if err := nbdtest.Option(conn, test.option, []byte(test.data)); err != nil {
			t.Fatal(err)
		}
		told := ""
		for _, want := range test.replies {
			kind, data, err := nbdtest.Reply(conn)
			if err != nil || kind != want {
				t.Fatalf("option %d %q: %#x, %v; want %#x", test.option, test.data, kind, err, want)
			}
			told += string(data)
		}
		if test.told != told {
			t.Errorf("option %d: told %q, want %q", test.option, told, test.told)
		}
	}
	if err := nbdtest.Option(conn, 1, []byte("disk.img")); err != nil { // EXPORT_NAME
		t.Fatal(err)
	}
	var told [10]byte
	if _, err := io.ReadFull(conn, told[:]); err != nil {
		t.Fatal(err)
	}
	c := nbdtest.Client{Conn: conn}
	if _, err := c.ReadAt(make([]byte, 100), 50); err != nil {
		t.Error(err)
	}
}

// TestStructuredReplies: who asks for them has reads answered in one chunk, and all else as ever. The size is no
// multiple of 512: qemu waits for bytes that are not there of a simple reply then.
func TestStructuredReplies(t *testing.T) {
	e, m := exported()
	conn, err := net.Dial("tcp", served(t, e))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := nbdtest.Hello(conn); err != nil {
		t.Fatal(err)
	}
	told := func(what string, send []byte, want string) {
		t.Helper()
		got := make([]byte, len(want))
		_, err := conn.Write(send)
		if _, readErr := io.ReadFull(conn, got); err != nil || readErr != nil || string(got) != want {
			t.Fatalf("%s: %q, want %q (%v, %v)", what, got, want, err, readErr)
		}
	}
	told("STRUCTURED_REPLY", []byte("IHAVEOPT\x00\x00\x00\x08\x00\x00\x00\x00"),
		"\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00")
	told("EXPORT_NAME", []byte("IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x00"), "\x00\x00\x00\x00\x00\x10\x00\x4d\x01\xed")
	const cookie, at = "cookie78", "\x00\x00\x00\x00\x00\x10\x00\x49" // 4 bytes before the end
	told("read, not in pieces", []byte("\x25\x60\x95\x13\x00\x04\x00\x00"+cookie+at+"\x00\x00\x00\x04"),
		"\x66\x8e\x33\xef\x00\x01\x00\x01"+cookie+"\x00\x00\x00\x0c"+at+string(m.data[size-4:]))
	told("read past the end", []byte("\x25\x60\x95\x13\x00\x00\x00\x00"+cookie+at+"\x00\x00\x00\x05"),
		"\x66\x8e\x33\xef\x00\x01\x80\x01"+cookie+"\x00\x00\x00\x06\x00\x00\x00\x16\x00\x00")
	told("flush", []byte("\x25\x60\x95\x13\x00\x00\x00\x03"+cookie+"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		"\x67\x44\x66\x98\x00\x00\x00\x00"+cookie)
}

// TestSlowReadsHoldUpNobody: requests of one connection are carried out side by side, and those of others too.
func TestSlowReadsHoldUpNobody(t *testing.T) {
	e, m := exported()
	m.hold = make(chan struct{})
	address := served(t, e)
	slow, other := dialled(t, address, ""), dialled(t, address, "")
	read := make(chan error, 1)
	go func() {
		_, err := slow.ReadAt(make([]byte, 100), 0)
		read <- err
	}()
	if err := other.Do(nbdtest.Write, 0, 0, 4, []byte("over")); err != nil {
		t.Error(err)
	}
	close(m.hold)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// wire is a client of whom all is known before.
type wire struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error)  { return w.in.Read(p) }
func (w *wire) Write(p []byte) (int, error) { return w.out.Write(p) }

// FuzzClient: whatever a client sends, the server ends, and writes no bytes but those that it was told to.
func FuzzClient(f *testing.F) {
	hello := "\x00\x00\x00\x03"
	option := func(n byte, data string) string {
		return "IHAVEOPT\x00\x00\x00" + string(n) + "\x00\x00\x00" + string(rune(len(data))) + data
	}
	request := func(flags, command byte, at, length byte) string {
		return "\x25\x60\x95\x13\x00" + string(flags) + "\x00" + string(command) + "\x00\x00\x00\x00\x00\x00\x00\x01" +
			"\x00\x00\x00\x00\x00\x00\x00" + string(at) + "\x00\x00\x00" + string(length)
	}
	for _, seed := range []string{"", "GET / HTTP/1.1\r\n\r\n", hello, hello + option(3, "") + option(2, ""),
		hello + option(7, "\x00\x00\x00\x01d\x00\x01\x00\x03") + request(0, 0, 1, 5) + request(1, 1, 2, 3) + "abc" +
			request(0, 3, 0, 0) + request(0, 4, 0, 9) + request(2, 6, 1, 9) + request(0, 2, 0, 0),
		hello + option(8, "") + option(1, "d") + request(4, 0, 1, 5) + request(0, 0, 60, 5),
		hello + option(1, "d") + request(0, 1, 60, 20) + request(0, 9, 0, 0),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		m := &memory{data: make([]byte, 64)}
		w := &wire{in: bytes.NewReader(sent)}
		nbd.Client(w, &nbd.Export{Names: []string{"d"}, Size: 64, Device: m})
		if !bytes.HasPrefix(w.out.Bytes(), []byte("NBDMAGICIHAVEOPT")) {
			t.Errorf("the server said %q", w.out.Bytes())
		}
		for _, b := range m.data {
			if b != 0 && bytes.IndexByte(sent, b) < 0 {
				t.Errorf("%q was written, and %q sent", m.data, sent)
			}
		}
	})
}
