// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// script is a language of which plugins are folders.
type script struct {
	main    string   // the file where it begins
	program string   // its interpreter
	try     []string // what the interpreter is given to see that it has what the kit needs
	lacks   string   // what there is none of where it has not
	hint    string
	pack    func(*bytes.Buffer, []source) error // writes what follows the line that names the interpreter
}

// source is a file of a folder, under its path in that.
type source struct {
	name string
	text []byte
}

var scripts = []script{
	{"__main__.py", "python3", []string{"-c", "import grpc, google.protobuf, cryptography"},
		"python3 with grpcio, protobuf and cryptography", "pip install grpcio protobuf cryptography, or on Debian: " +
			"apt-get install python3-grpcio python3-protobuf python3-cryptography", packPython},
	{"main.rb", "ruby", []string{"-e", `require "grpc"; require "google/protobuf"; require "openssl"`},
		"ruby with grpc and google-protobuf", "gem install grpc, or on Debian: apt-get install ruby-grpc", packRuby},
}

// Pack makes one program of a folder in Python that has a __main__.py, or in Ruby that has a main.rb, so that one
// checksum covers all of it. Tests and what begins with a dot stay out.
func Pack(folder string) ([]byte, error) {
	at := slices.IndexFunc(scripts, func(s script) bool {
		_, err := os.Stat(filepath.Join(folder, s.main))
		return err == nil
	})
	if at < 0 {
		return nil, core.WithHint(errors.New("a folder without __main__.py or main.rb is no plugin"),
			"build a plugin that is neither in Python nor in Ruby, and name the file")
	}
	s := scripts[at]
	interpreter, err := s.interpreter()
	if err != nil {
		return nil, err
	}
	sources, err := sourcesOf(folder)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("#!" + interpreter + "\n")
	err = s.pack(&b, sources)
	return b.Bytes(), err
}

// interpreter is one that has gRPC.
func (s script) interpreter() (string, error) {
	for _, interpreter := range []string{"/usr/bin/env " + s.program, "/usr/bin/" + s.program} {
		words := append(strings.Fields(interpreter), s.try...)
		if exec.Command(words[0], words[1:]...).Run() == nil {
			return interpreter, nil
		}
	}
	return "", core.WithHint(errors.New("there is no "+s.lacks), "%s", s.hint)
}

// sourcesOf reads the files of a folder, in order.
func sourcesOf(folder string) (sources []source, err error) {
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
		sources = append(sources, source{filepath.ToSlash(inside), text})
		return err
	})
	return sources, err
}

// packPython writes a zip archive, as python3 -m zipapp does.
func packPython(b *bytes.Buffer, sources []source) error {
	archive := zip.NewWriter(b)
	archive.SetOffset(int64(b.Len()))
	for _, s := range sources {
		w, err := archive.Create(s.name) // without times: the same files make the same archive
		if err != nil {
			return err
		}
		if _, err := w.Write(s.text); err != nil {
			return err
		}
	}
	return archive.Close()
}

// packRuby writes the files in Ruby as strings, and in front of them what has require and require_relative find them.
func packRuby(b *bytes.Buffer, sources []source) error {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	b.WriteString("PACKED = {\n")
	for _, s := range sources {
		if strings.HasSuffix(s.name, ".rb") {
			fmt.Fprintf(b, "'%s' => '%s',\n", quote.Replace(s.name), quote.Replace(string(s.text)))
		}
	}
	b.WriteString(`}
module Packed
  HERE = File.expand_path(__FILE__) + "/"
  def require(name)
    file = name.delete_prefix(HERE).delete_suffix(".rb") + ".rb"
    return super unless PACKED.key?(file)
    text = PACKED[file] or return false
    PACKED[file] = nil
    eval(text, TOPLEVEL_BINDING.dup, HERE + file)
    true
  end

  def require_relative(name)
    require File.expand_path(name, File.dirname(caller_locations(1, 1).first.path))
  end
end
Object.prepend Packed
$0 = Packed::HERE + "main.rb"
require $0
`)
	return nil
}
