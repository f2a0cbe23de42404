// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core"
)

// token is the cluster token: --token-file, else BKP_CLUSTER_TOKEN, else what the data directory holds; nil without.
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
		if text, err = os.ReadFile(where); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("cluster token: %w", err)
		}
	}
	token := bytes.TrimSpace(text)
	if len(token) < 22 { // 128 bits in base64
		return nil, core.WithHint(line.UsageError("the cluster token in %s has %d characters, at least 22 are needed",
			where,
			len(token)),
			"draw one: head -c 32 /dev/urandom | base64 > token")
	}
	return token, nil
}
