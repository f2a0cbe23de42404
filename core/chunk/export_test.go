// SPDX-License-Identifier: Apache-2.0

package chunk

// SealBody seals a body of a test's making, as only somebody with the key could.
var SealBody = sealBody

// Methods, for SealBody.
const (
	MethodPlain = methodPlain
	MethodZstd  = methodZstd
)

// CompressInGo makes s compress as a build without cgo does.
func (s *Sealer) CompressInGo(level Level) (err error) {
	s.compress, err = newGoCompressor(level)
	return err
}

// DecompressInGo makes o decompress as a build without cgo does.
func (o *Opener) DecompressInGo() { o.decompress = newGoDecompressor() }
