// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core"
)

// token is the cluster token: --token-file, else BKP_CLUSTER_TOKEN, else what the data directory holds, else that of
// --draw-token, which is drawn where nobody did; nil without.
func (op *Opener) token() ([]byte, error) {
	where, text := "BKP_CLUSTER_TOKEN", []byte(os.Getenv("BKP_CLUSTER_TOKEN"))
	if path := op.flags.String("token-file"); path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, line.UsageError("--token-file: %w", err)
		}
		where = path
	} else if len(text) == 0 {
		where = op.dir.Path("token")
		var err error
		text, err = os.ReadFile(where)
		if drawn := op.flags.String("draw-token"); errors.Is(err, fs.ErrNotExist) && drawn != "" {
			where = drawn
			text, err = datadir.DrawToken(drawn)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("cluster token: %w", err)
		}
	}
	token := bytes.TrimSpace(text)
	if len(token) < leastToken {
		return nil, core.WithHint(line.UsageError("the cluster token in %s has %d characters, at least %d are needed: whoever "+
			"guesses it is a member", where, len(token), leastToken),
			"draw one: head -c 32 /dev/urandom | base64 > token; or have others join by bkp invite, which draws its own")
	}
	return token, nil
}

const (
	leastToken   = 22  // characters: 128 bits in base64
	leastLetters = 51  // where there are letters of one case alone: ten words drawn from a list of 7,776
	leastDigits  = 39  // where there are digits alone
	leastBits    = 64. // by how often each character occurs, which is less than the truth for what was drawn
)

// weak says what tells that a token was thought up and not drawn. It cannot tell that of every one, and clusters live
// with such tokens: a node that starts warns of it.
func weak(token []byte) error {
	var count [256]int
	var letters, digits, upper, lower, vowels int
	threes := map[[3]byte]bool{}
	for at, c := range token {
		count[c]++
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z':
			letters, lower = letters+1, lower+1
		case c >= 'A' && c <= 'Z':
			letters, upper = letters+1, upper+1
		}
		if strings.ContainsRune("aeiouAEIOU", rune(c)) {
			vowels++
		}
		if at >= 2 {
			threes[[3]byte(token[at-2:at+1])] = true
		}
	}
	bits := 0.
	for _, n := range count {
		if n > 0 {
			bits -= float64(n) * math.Log2(float64(n)/float64(len(token)))
		}
	}
	switch {
	case letters == 0 && len(token) < leastDigits:
		return fmt.Errorf("has digits alone, of which %d are needed", leastDigits)
	case digits == 0 && (upper == 0 || lower == 0) && letters < leastLetters && (letters < len(token) || vowels > letters*3/8):
		return fmt.Errorf("reads like words, of which ten are needed")
	case bits < leastBits || len(threes) < len(token)*3/4:
		return fmt.Errorf("repeats itself")
	}
	return nil
}
