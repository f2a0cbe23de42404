// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
)

// line is a step as it stands in a file, so that rounds can be measured a few at a time.
type line struct {
	Input, Do, Tool string
	step
}

// load takes in the steps that earlier runs left; there may be none.
func (r result) load(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for d := json.NewDecoder(f); ; {
		var l line
		if err := d.Decode(&l); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		key := [3]string{l.Input, l.Do, l.Tool}
		r[key] = append(r[key], l.step)
	}
}

// save leaves all steps for later runs.
func (r result) save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for key, steps := range r {
		for _, s := range steps {
			if err := json.NewEncoder(f).Encode(line{key[0], key[1], key[2], s}); err != nil {
				return err
			}
		}
	}
	return f.Close()
}
