// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package chunk

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/DataDog/zstd"
)

// Compressor names the library that this build compresses and decompresses with.
const Compressor = "zstd in C"

// newCtx makes a context, and is another in tests. It frees the C library's memory when it is collected, and does not
// itself see to it that this is not during its last call, which would then compress or decompress to anything: whoever
// calls it keeps it alive.
var newCtx = zstd.NewCtx

// newCompressor compresses with the C library, which takes two thirds of the time that Go's takes for as many bytes.
func newCompressor(level Level) (compressor, error) {
	speed := map[Level]int{LevelFast: -1, LevelDefault: zstd.BestSpeed, LevelBest: zstd.DefaultCompression}[level]
	ctx := newCtx()
	return func(dst, plain []byte) ([]byte, error) {
		body, err := ctx.CompressLevel(dst[:cap(dst)], plain, speed)
		runtime.KeepAlive(ctx)
		if err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		return body, nil
	}, nil
}

// newDecompressor decompresses with the C library, straight into memory of the size that the manifest tells: there is
// no window to make, and what is longer does not fit. Only frames that the chunk's key has authenticated come here.
func newDecompressor() decompressor {
	ctx := newCtx()
	return func(dst, body []byte, size int) ([]byte, error) {
		if size == 0 || len(body) == 0 {
			return nil, errors.New("decompress: nothing is not compressed")
		}
		plain := slices.Grow(dst, size)
		n, err := ctx.DecompressInto(plain[len(dst):len(dst)+size], body)
		runtime.KeepAlive(ctx)
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		return plain[:len(dst)+n], nil
	}
}
