package chunk

import (
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Level is how hard to compress. Measured on one core over 256 MiB out of a tar of programs, libraries and sources, cut into
// 512 KiB; with the C library that a build with cgo compresses with, and with the one in Go that every build opens with:
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
		zstd.WithNoEntropyCompression(level == LevelFast), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true)) // GCM authenticates; a checksum would be dead weight
	if err != nil {
		return nil, fmt.Errorf("make compressor: %w", err)
	}
	return func(dst, plain []byte) ([]byte, error) { return encoder.EncodeAll(plain, dst), nil }, nil
}
