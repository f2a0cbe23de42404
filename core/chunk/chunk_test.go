// SPDX-License-Identifier: Apache-2.0

package chunk_test

import (
	"math/rand/v2"

	"github.com/bkp-tool/bkp/core/chunk"
)

// testSecret is the fixed key of all golden vectors.
var testSecret = [32]byte([]byte("bkp test key: 32 bytes, no more."))

var testSecrets = chunk.NewSecrets(testSecret)

// content is made-up incompressible bytes.
func content(seed uint64, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	return b
}

// text is made-up compressible bytes.
func text(seed uint64, size int) []byte {
	b := content(seed, size)
	for i := range b {
		b[i] = "the quick brown fox "[b[i]%20]
	}
	return b
}
