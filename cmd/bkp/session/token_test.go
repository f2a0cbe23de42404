// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// What people think up is warned of, each with its reason.
func TestWeakTokens(t *testing.T) {
	for token, words := range map[string]string{
		"only-for-trying-out-not-a-secret":         "words",
		"CORRECT HORSE BATTERY STAPLE AGAIN":       "words",
		"aaaaaaaaaaaaaaaaaaaaaaaa1A":               "repeats",
		"Passw0rd!Passw0rd!Passw0rd!":              "repeats",
		"20261130202611302026113020261130":         "digits",
		"0123456789012345678901234567890123456789": "repeats",
	} {
		if err := weak([]byte(token)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want %s", token, err, words)
		}
	}
}

// What was drawn is taken, however it is written.
func TestDrawnTokens(t *testing.T) {
	random := rand.NewChaCha8([32]byte{7})
	for range 20_000 {
		var raw [32]byte
		random.Read(raw[:])
		for _, token := range []string{
			base64.StdEncoding.EncodeToString(raw[:]), base64.RawURLEncoding.EncodeToString(raw[:16]),
			hex.EncodeToString(raw[:16]), hex.EncodeToString(raw[:]), base32.StdEncoding.EncodeToString(raw[:20]),
			strings.ToLower(base32.StdEncoding.EncodeToString(raw[:])),
		} {
			if err := weak([]byte(token)); err != nil {
				t.Errorf("%q: %v", token, err)
			}
		}
	}
	words := "lantern ocelot vivid thirteen gravel mossy umbrella kettle orbit saffron"
	if err := weak([]byte(words)); err != nil {
		t.Errorf("ten words: %v", err)
	}
}
