// SPDX-License-Identifier: Apache-2.0

package job

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// A drill sees each byte that is not as in the file, wherever it stands.
func TestDrillComparesEveryByte(t *testing.T) {
	t.Parallel()
	const size, start = 3<<20 + 7, 1000
	dir := t.TempDir()
	whole := make([]byte, start+size+5)
	rand.NewChaCha8([32]byte{1}).Read(whole)
	file, part := filepath.Join(dir, "file"), filepath.Join(dir, "part")
	write := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, whole)
	fetched := bytes.Clone(whole[start : start+size])
	write(part, fetched)
	if equal, err := equalBytes(part, file, start, size); err != nil || !equal {
		t.Errorf("what is equal: %v, %v", equal, err)
	}
	for _, at := range []int{0, 1<<20 - 1, 1 << 20, size - 1} {
		fetched[at] ^= 1
		write(part, fetched)
		if equal, err := equalBytes(part, file, start, size); err != nil || equal {
			t.Errorf("another byte at %d: %v, %v", at, equal, err)
		}
		fetched[at] ^= 1
	}
	write(file, whole[:start+size-1])
	write(part, fetched)
	if equal, err := equalBytes(part, file, start, size); equal && err == nil {
		t.Error("the file is shorter, and taken for equal")
	}
}
