// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package chunk

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/DataDog/zstd"
)

// watched is a zstd.Ctx during whose calls garbage is collected. As in the real one a call looks at it no more once it
// has begun.
type watched struct {
	zstd.Ctx
	freed chan bool // full once it was collected
}

func (w *watched) CompressLevel(dst, src []byte, level int) ([]byte, error) {
	ctx := w.Ctx
	defer runtime.KeepAlive(ctx)
	collect()
	return ctx.CompressLevel(dst, src, level)
}

func (w *watched) DecompressInto(dst, src []byte) (int, error) {
	ctx := w.Ctx
	defer runtime.KeepAlive(ctx)
	collect()
	return ctx.DecompressInto(dst, src)
}

// collect returns when all that was garbage before it is freed: finalizers run one after the other.
func collect() {
	for range 2 {
		last := make(chan bool)
		runtime.SetFinalizer(&struct{ bytes [64]byte }{}, func(any) { close(last) })
		runtime.GC()
		<-last
	}
}

// What compresses and decompresses holds memory of a C library's, which is freed when it is collected: that must not be
// during its last call, which would then compress or decompress to anything.
func TestContextLivesThroughItsLastCall(t *testing.T) {
	freed := make(chan bool, 1)
	newCtx = func() zstd.Ctx {
		w := &watched{zstd.NewCtx(), freed}
		runtime.SetFinalizer(w, func(w *watched) { w.freed <- true })
		return w
	}
	defer func() { newCtx = zstd.NewCtx }()
	check := func(what string) {
		t.Helper()
		if len(freed) > 0 {
			t.Errorf("%s was freed during its call", what)
		}
		collect()
		if !<-freed {
			t.Errorf("%s is never freed", what)
		}
	}
	plain := bytes.Repeat([]byte("as it was "), 1000)
	compress, err := newCompressor(LevelDefault)
	if err != nil {
		t.Fatal(err)
	}
	body, err := compress(nil, plain)
	if check("what compresses"); err != nil {
		t.Fatal(err)
	}
	got, err := newDecompressor()(nil, body, len(plain))
	if check("what decompresses"); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
