// SPDX-License-Identifier: Apache-2.0

package core

import (
	"crypto/ed25519"
	"encoding/hex"
	"strings"
	"testing"
)

func TestCheckKey(t *testing.T) {
	rest := strings.Repeat("ff", 30)
	for _, tc := range []struct{ name, key, want string }{
		{"a real key", "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29", ""},
		{"largest y that is canonical but one", "eb" + rest + "7f", ""},
		{"order 1", "01" + strings.Repeat("00", 31), "small order"},
		{"order 1, the other sign", "01" + strings.Repeat("00", 30) + "80", "small order"},
		{"order 2", "ec" + rest + "7f", "small order"},
		{"order 4", strings.Repeat("00", 32), "small order"},
		{"order 4, the other sign", strings.Repeat("00", 31) + "80", "small order"},
		{"order 8", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "small order"},
		{"order 8, the other sign", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85", "small order"},
		{"order 8, the other y", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "small order"},
		{"order 8, both other", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa", "small order"},
		{"0 spelled as the prime", "ed" + rest + "7f", "canonical"},
		{"1 spelled as the prime + 1", "ee" + rest + "ff", "canonical"},
		{"2 spelled as the prime + 2", "ef" + rest + "7f", "canonical"},
		{"31 bytes", strings.Repeat("11", 31), "31 bytes"},
		{"33 bytes", strings.Repeat("11", 33), "33 bytes"},
		{"none", "", "0 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key, err := hex.DecodeString(tc.key)
			if err != nil {
				t.Fatal(err)
			}
			err = checkKey(key)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// Why small order matters: under the neutral point one signature fits whatever is said, and crypto/ed25519 lets it
// pass.
func TestSmallOrderKeySignsAnything(t *testing.T) {
	neutral := append([]byte{1}, make([]byte, 31)...)
	signature := append(neutral[:32:32], make([]byte, 32)...) // R is the neutral point, S is 0
	for _, said := range []string{"keep this", "drop this"} {
		if !ed25519.Verify(neutral, []byte(said), signature) {
			t.Errorf("crypto/ed25519 now refuses %q; checkKey may be needless", said)
		}
	}
}
