// SPDX-License-Identifier: Apache-2.0

package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/bkp-tool/bkp/core/file"
)

// Input is what is to be split: a path, or a reader where that is empty. It must be closed.
type Input struct {
	Path   string
	Reader io.Reader
	end    func() // of a command that runs still
}

// FromStdin is what standard input gives.
func FromStdin(r io.Reader) Input { return Input{Reader: stdin{r}} }

// FromCommand is what a line of the shell writes; ctx ends it.
func FromCommand(ctx context.Context, line string, stderr io.Writer) (Input, error) {
	r, err := startCommand(ctx, line, stderr)
	if err != nil {
		return Input{}, err
	}
	return Input{Reader: r, end: r.end}, nil
}

// Close ends the command that writes, where there is one.
func (in Input) Close() {
	if in.end != nil {
		in.end()
	}
}

// Source opens it for a split.
func (in Input) Source() (*file.Source, error) {
	if in.Reader != nil {
		return file.NewReader(in.Reader), nil
	}
	return file.Open(in.Path)
}

// stdin is standard input where it gives the bytes of a file.
type stdin struct{ io.Reader }

func (in stdin) Read(p []byte) (int, error) {
	n, err := in.Reader.Read(p)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read standard input: %w", err)
	}
	return n, err
}
