// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/bkp-tool/bkp/core"
)

// EncodeAsked writes what a strategy was asked, and its answers: one question a line.
func EncodeAsked(asked []core.Asked) ([]byte, error) {
	var out bytes.Buffer
	for _, a := range asked {
		text, err := json.Marshal(a)
		if err != nil {
			return nil, err
		}
		out.Write(append(text, '\n'))
	}
	return out.Bytes(), nil
}

// DecodeAsked reads what EncodeAsked wrote, one question at least, each with an answer that fits it.
func DecodeAsked(text []byte) (asked []core.Asked, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	for {
		var a core.Asked
		err := d.Decode(&a)
		if errors.Is(err, io.EOF) && len(asked) > 0 {
			return asked, nil
		}
		if err == nil {
			err = CheckColumns(a.Batch.Nodes)
		}
		if err == nil {
			err = CheckScores(a.Batch.Nodes.Len(), a.Scores)
		}
		if err != nil {
			return nil, fmt.Errorf("question %d: %w", len(asked)+1, err)
		}
		asked = append(asked, a)
	}
}
