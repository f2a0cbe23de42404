// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package chunk

// Compressor names the library that this build compresses and decompresses with.
const Compressor = "zstd in Go"

func newCompressor(level Level) (compressor, error) { return newGoCompressor(level) }

func newDecompressor() decompressor { return newGoDecompressor() }
