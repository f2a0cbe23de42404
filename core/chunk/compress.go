// SPDX-License-Identifier: Apache-2.0

package chunk

import (
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Level is how hard to compress. Measured on one core over 256 MiB out of a tar of programs, libraries and sources, cut
// into 512 KiB; with the C library of builds with cgo, and with the one in Go of others:
//
//	         C                 Go
//	fast     674 MB/s  0.472   zstd's fastest matches, without entropy coding
//	default  576 MB/s  0.439   365 MB/s  0.442   zstd's fastest
//	         399 MB/s  0.420   228 MB/s  0.426   (what zstd calls its default)
//	best     174 MB/s  0.413   177 MB/s  0.419   zstd's better one
type Level string

const (
	LevelOff     Level = "off"
	LevelFast    Level = "fast"
	LevelDefault Level = "default"
	LevelBest    Level = "best"
)

// Levels are all levels, weakest first.
var Levels = []Level{LevelOff, LevelFast, LevelDefault, LevelBest}

// ParseLevel reads the name of a level.
func ParseLevel(s string) (Level, error) {
	if l := Level(s); slices.Contains(Levels, l) {
		return l, nil
	}
	return "", fmt.Errorf("unknown compression %q (have %v)", s, Levels)
}

// compressor appends plain as one zstd frame to dst, which is empty. One goroutine may use it at a time.
type compressor func(dst, plain []byte) ([]byte, error)

// newGoCompressor compresses in Go. level is not LevelOff.
func newGoCompressor(level Level) (compressor, error) {
	speed := zstd.SpeedFastest
	if level == LevelBest {
		speed = zstd.SpeedBetterCompression
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1),
		// GCM authenticates; a checksum would be dead weight
		zstd.WithNoEntropyCompression(level == LevelFast), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("make compressor: %w", err)
	}
	return func(dst, plain []byte) ([]byte, error) { return encoder.EncodeAll(plain, dst), nil }, nil
}

// decompressor appends what the frames of body hold to dst: size bytes, or it is not what it should be and the result
// has another length or is an error. It takes no more memory than MaxPlain, whatever body is. One goroutine may use it
// at a time.
type decompressor func(dst, body []byte, size int) ([]byte, error)

// newGoDecompressor decompresses in Go.
func newGoDecompressor() decompressor {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxPlain), zstd.WithDecoderMaxWindow(MaxPlain))
	if err != nil {
		panic("chunk.newGoDecompressor: " + err.Error()) // the options are constants
	}
	return func(dst, body []byte, _ int) ([]byte, error) {
		plain, err := decoder.DecodeAll(body, dst[len(dst):]) // its limit counts what is there already
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		if len(dst) == 0 {
			return plain, nil
		}
		return append(dst, plain...), nil
	}
}
