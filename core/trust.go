// SPDX-License-Identifier: Apache-2.0

package core

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"time"
)

// ClockSkew is how far two nodes' clocks may differ: dates in signed words are stretched by it both ways.
const ClockSkew = 300 * time.Second

// smallOrder holds the y coordinates of the eight points of order 1, 2, 4 and 8 (a sign bit tells ±x apart).
// Under such a key one signature fits every message, or a good part of all messages.
var smallOrder = map[string]bool{
	"0100000000000000000000000000000000000000000000000000000000000000": true, // order 1
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true, // order 2
	"0000000000000000000000000000000000000000000000000000000000000000": true, // order 4
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05": true, // order 8
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a": true, // order 8
}

// checkKey refuses what must never be taken for an Ed25519 public key: another length, a point of small order, and a
// second spelling of a point (y not below the field's prime), which would give one key two IDs.
func checkKey(raw []byte) error {
	if len(raw) != ed25519.PublicKeySize {
		return fmt.Errorf("public key has %d bytes, want %d", len(raw), ed25519.PublicKeySize)
	}
	y := [ed25519.PublicKeySize]byte(raw)
	y[31] &= 0x7f // without the sign of x
	if !belowPrime(y) {
		return fmt.Errorf("public key is not in canonical form")
	}
	if smallOrder[hex.EncodeToString(y[:])] {
		return fmt.Errorf("public key is a point of small order")
	}
	return nil
}

// belowPrime reports whether the little-endian number y is below 2^255 − 19.
func belowPrime(y [32]byte) bool {
	if y[31] != 0x7f {
		return true
	}
	for _, b := range y[1:31] {
		if b != 0xff {
			return true
		}
	}
	return y[0] < 0xed
}
