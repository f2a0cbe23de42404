package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/core"
)

// Source is what is to be split.
type Source struct {
	Size core.Size // plain bytes; -1 where nobody knows before the end

	name   string
	reader io.Reader
	file   *os.File    // nil for a plain reader
	before fs.FileInfo // nil for a plain reader and for a block device
}

// NewReader is a source that ends where r does.
func NewReader(r io.Reader) *Source { return &Source{Size: -1, name: "standard input", reader: r} }

// Open is a file, or a block device, as a source.
func Open(path string) (*Source, error) {
	before, err := os.Stat(path) // before opening: that would wait for a FIFO's other end
	if err == nil {
		err = checkMode(path, before.Mode())
	}
	if err != nil {
		return nil, openError(path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	s := &Source{name: path, reader: f, file: f}
	if err := s.measure(before); err != nil {
		f.Close()
		return nil, openError(path, err)
	}
	return s, nil
}

func openError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return core.WithHint(fmt.Errorf("open %s: no such file", path), "check the path; to split standard input, write - and --name NAME")
	}
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err
	}
	return fmt.Errorf("open %s: %w", path, errors.Unwrap(err))
}

// checkMode refuses what is no file and has no size.
func checkMode(path string, mode fs.FileMode) error {
	refuse := func(what, hint string, args ...any) error {
		return core.WithHint(core.Fail(core.CodeUsage, "%s is %s", path, what), hint, args...)
	}
	switch {
	case mode.IsDir():
		return refuse("a directory", "pipe a tar: tar -c %s | bkp split - --name NAME.tar", path)
	case mode&fs.ModeNamedPipe != 0:
		return refuse("a FIFO", "pipe it: cat %s | bkp split - --name NAME", path)
	case mode&fs.ModeCharDevice != 0:
		return refuse("a character device, which has no end", "pipe as much of it as you want: head -c SIZE %s | bkp split - --name NAME", path)
	case mode&fs.ModeSocket != 0:
		return refuse("a socket", "pipe what comes out of it: … | bkp split - --name NAME")
	case mode.IsRegular(), mode&fs.ModeDevice != 0:
		return nil
	}
	return refuse("neither a file nor a block device", "pipe it: … | bkp split - --name NAME")
}

// measure fills in the size and what a later look must find unchanged.
func (s *Source) measure(before fs.FileInfo) error {
	now, err := s.file.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(before, now) {
		return core.Fail(core.CodeFailed, "%s: another file took its place while it was opened", s.name)
	}
	if now.Mode().IsRegular() {
		s.before, s.Size = now, core.Size(now.Size())
		return nil
	}
	end, err := s.file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = s.file.Seek(0, io.SeekStart)
	}
	s.Size = core.Size(end)
	return err
}

// Close closes the file. A plain reader is the caller's.
func (s *Source) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// check holds how much was read, to the end or so far, against what the file was and is.
func (s *Source) check(read core.Size, end bool) error {
	changed := func(how string, args ...any) error {
		return core.WithHint(core.Fail(core.CodeFailed, "%s changed while it was split: %s", s.name, fmt.Sprintf(how, args...)),
			"stop what writes to it, or split a snapshot of it")
	}
	switch {
	case s.Size >= 0 && read > s.Size:
		return changed("it grew beyond its %d bytes", s.Size)
	case !end:
		return nil
	case s.Size >= 0 && read < s.Size:
		return changed("it ended after %d of %d bytes", read, s.Size)
	case s.before == nil:
		return nil
	}
	now, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("look at %s again: %w", s.name, err)
	}
	if now.Size() != s.before.Size() {
		return changed("it had %d bytes and has %d", s.before.Size(), now.Size())
	}
	if !now.ModTime().Equal(s.before.ModTime()) {
		return changed("it was modified at %s", now.ModTime().Format("15:04:05.000"))
	}
	return nil
}
