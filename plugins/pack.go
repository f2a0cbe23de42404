// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// Pack makes one program of a folder in Python that has a __main__.py: a zip archive behind a line that names the
// interpreter, as python3 -m zipapp makes it, so that one checksum covers all of it. Tests and what begins with a dot
// stay out.
func Pack(folder string) ([]byte, error) {
	if _, err := os.Stat(filepath.Join(folder, "__main__.py")); err != nil {
		return nil, core.WithHint(errors.New("a folder without __main__.py is no plugin"),
			"build a plugin that is not in Python, and name the file")
	}
	python, err := interpreter()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("#!" + python + "\n")
	archive := zip.NewWriter(&b)
	archive.SetOffset(int64(b.Len()))
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if path != folder && (strings.HasPrefix(name, ".") || name == "__pycache__" || strings.HasPrefix(name, "test_")) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		inside, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w, err := archive.Create(filepath.ToSlash(inside)) // without times: the same files make the same archive
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	})
	if err == nil {
		err = archive.Close()
	}
	return b.Bytes(), err
}

// interpreter is a Python that has gRPC.
func interpreter() (string, error) {
	for _, python := range []string{"/usr/bin/env python3", "/usr/bin/python3"} {
		words := append(strings.Fields(python), "-c", "import grpc, google.protobuf, cryptography")
		if exec.Command(words[0], words[1:]...).Run() == nil {
			return python, nil
		}
	}
	return "", core.WithHint(errors.New("there is no python3 with grpcio, protobuf and cryptography"),
		"pip install grpcio protobuf cryptography, or on Debian: apt-get install python3-grpcio python3-protobuf python3-cryptography")
}
