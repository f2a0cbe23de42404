package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// memory is a small file of the data directory that may be lost without harm, as bandwidth.json.
type memory string

func (m memory) Read() ([]byte, error) {
	text, err := os.ReadFile(string(m))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, core.ErrNotFound
	}
	return text, err
}

func (m memory) Write(text []byte) error {
	return durable.Replace(string(m), text, 0o600)
}
