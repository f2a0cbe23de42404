// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Source is what is to be split.
type Source struct {
	Size core.Size // plain bytes; -1 where nobody knows before the end

	name   string // "" where the errors of reader say what it is
	reader io.Reader
	file   *os.File    // nil for what is read to its end like a plain reader
	unsure *os.File    // is read to its end: some file systems say of files with bytes that they have none
	before fs.FileInfo // nil for a plain reader and for a block device
	inode  string      // of a file, at that time
	since  time.Time   // it is as it is; zero where nobody knows
	dense  bool        // nothing tells where its holes are
}

// NewReader is a source that ends where r does. The errors of r name what is read.
func NewReader(r io.Reader) *Source { return &Source{Size: -1, reader: r} }

// Open is a file, or a block device, as a source.
func Open(path string) (*Source, error) {
	f, info, err := openStill(path)
	if err != nil {
		return nil, openError(path, err)
	}
	s := &Source{name: path, reader: f, file: f}
	if err := s.measure(info); err != nil {
		f.Close()
		return nil, openError(path, err)
	}
	return s, nil
}

// openStill opens what has bytes that stay where they are, a file or a block device. It never waits for another end, as
// of a FIFO.
func openStill(path string) (*os.File, fs.FileInfo, error) {
	before, err := os.Stat(path)
	if err == nil {
		err = checkMode(path, before.Mode())
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO may have come since
	if err != nil {
		return nil, nil, err
	}
	now, err := f.Stat()
	if err == nil && !os.SameFile(before, now) {
		err = core.Fail(core.CodeFailed, "%s: another file took its place while it was opened", path)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, now, nil
}

func openError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return core.WithHint(fmt.Errorf("open %s: no such file", path),
			"check the path; to split standard input, write - and --name NAME")
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
		return refuse("a character device, which has no end",
			"pipe as much of it as you want: head -c SIZE %s | bkp split - --name NAME", path)
	case mode&fs.ModeSocket != 0:
		return refuse("a socket", "pipe what comes out of it: … | bkp split - --name NAME")
	case mode.IsRegular(), mode&fs.ModeDevice != 0:
		return nil
	}
	return refuse("neither a file nor a block device", "pipe it: … | bkp split - --name NAME")
}

// measure fills in the size and what a later look must find unchanged.
func (s *Source) measure(now fs.FileInfo) error {
	switch {
	case now.Mode().IsRegular() && now.Size() == 0:
		s.before, s.Size, s.file, s.unsure = now, -1, nil, s.file
		return nil
	case now.Mode().IsRegular():
		s.before, s.Size = now, core.Size(now.Size())
		s.inode, s.since = inode(s.file)
		return nil
	}
	end, err := s.file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = s.file.Seek(0, io.SeekStart)
	}
	s.Size = core.Size(end)
	return err
}

// Head is the first bytes of the source, at most n; what is split is not less for it. Where ctx ends while a plain
// reader waits for its first bytes, one goroutine stays behind in that Read.
func (s *Source) Head(ctx context.Context, n int) ([]byte, error) {
	first := make([]byte, n)
	if s.file != nil {
		n, err := s.file.ReadAt(first, 0)
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("read %s: %w", s.name, err)
		}
		return first[:n], nil
	}
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, err = io.ReadFull(s.reader, first)
	}()
	if _, gone := receive(ctx, done); gone != nil {
		return nil, gone
	}
	s.reader = io.MultiReader(bytes.NewReader(first[:n]), s.reader)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, s.named(err)
	}
	return first[:n], nil
}

// named says of an error what was being split.
func (s *Source) named(err error) error {
	if s.name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", s.name, err)
}

// IsDevice reports whether the source is a block device.
func (s *Source) IsDevice() bool { return s.file != nil && s.before == nil }

// Stamp tells a state of a file from a later one: its size, when it was modified, which file it is and when that was
// changed. It is empty where the source has no such thing: then nobody can tell.
func (s *Source) Stamp() string {
	if s.before == nil || s.unsure != nil {
		return ""
	}
	return fmt.Sprintf("%d bytes, modified %d, file %s", s.before.Size(), s.before.ModTime().UnixNano(), s.inode)
}

// Mode is the type and the permissions of a regular file, as stat has them; 0 for what is none.
func (s *Source) Mode() uint32 {
	if s.before == nil {
		return 0
	}
	return 0o100000 | uint32(s.before.Mode().Perm())
}

// clockTick is how far apart two changes of a file may be and still be given the same time: file systems go by a clock
// that moves with the kernel's tick, every 10 ms at the most.
const clockTick = 20 * time.Millisecond

// Settled is the stamp of a source that was split, for a later look at it: a change from now on will show in it. It is
// empty where none can be had, as of a file that changed meanwhile, or just now on a file system whose times are whole
// seconds.
func (s *Source) Settled() string {
	stamp := s.Stamp()
	if stamp == "" || s.since.IsZero() {
		return ""
	}
	wait := clockTick - time.Since(s.since)
	if s.since.Nanosecond() == 0 {
		wait += 2 * time.Second
	}
	if wait > clockTick { // or its clock is ahead of ours
		return ""
	}
	time.Sleep(wait)
	now, err := s.file.Stat()
	if err != nil {
		return ""
	}
	later := &Source{before: now}
	later.inode, later.since = inode(s.file)
	if later.Stamp() != stamp {
		return ""
	}
	return stamp
}

// stretch says what begins at byte at: content up to data, then a hole up to hole, either of which may be empty. Holes
// begin and end at multiples of grid, or at the end of the file, and what is smaller is read like content: so chunks of
// one size stand where they stood in the version before, whatever became of the holes.
func (s *Source) stretch(at, grid core.Size) (data, hole core.Size, err error) {
	for from := at; from < s.Size && !s.dense; {
		start, end, err := nextHole(s.file, int64(from))
		if err != nil {
			s.dense = true
			break
		}
		first, last := (core.Size(start)+grid-1)/grid*grid, min(core.Size(end), s.Size)
		if last < s.Size {
			last = last / grid * grid
		}
		if last-first >= grid {
			return first, last, nil
		}
		from = core.Size(end)
	}
	return s.Size, s.Size, nil
}

// Close closes the file. A plain reader is the caller's.
func (s *Source) Close() error {
	switch {
	case s.file != nil:
		return s.file.Close()
	case s.unsure != nil:
		return s.unsure.Close()
	}
	return nil
}

// changed is the error that the source is not what it was.
func (s *Source) changed(how string, args ...any) error {
	return core.WithHint(core.Fail(core.CodeFailed, "it changed while it was split: %s", fmt.Sprintf(how, args...)),
		"stop what writes to it, or split a snapshot of it")
}

// untrue is the error that the size of the file is not what its file system says.
func (s *Source) untrue(how string, args ...any) error {
	how = fmt.Sprintf(how, args...)
	return core.WithHint(core.Fail(core.CodeFailed, "its file system says that it has %d bytes, and %s",
		s.before.Size(), how),
		"pipe it, so that it is read to its end: cat %s | bkp split - --name NAME", s.name)
}

// short is the error that the file ended before its size.
func (s *Source) short(read core.Size) error {
	if s.before == nil {
		return core.Fail(core.CodeFailed, "it ended after %d of %d bytes", read, s.Size)
	}
	if now, err := s.file.Stat(); err == nil && now.Size() == s.before.Size() &&
		now.ModTime().Equal(s.before.ModTime()) {
		return s.untrue("it ended after %d", read)
	}
	return s.changed("it ended after %d of %d bytes", read, s.Size)
}

// check looks, when all is read, whether the file is what it was, and no longer than it said.
func (s *Source) check() error {
	if s.unsure != nil {
		if now, err := s.unsure.Stat(); err == nil && now.Size() > 0 {
			return s.changed("it was empty and has %d bytes", now.Size())
		}
		return nil
	}
	if s.before == nil {
		return nil
	}
	more, _ := s.file.ReadAt(make([]byte, 1), s.before.Size())
	now, err := s.file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("look at it again: %w", err)
	case now.Size() > s.before.Size():
		return s.changed("it grew beyond its %d bytes", s.before.Size())
	case now.Size() < s.before.Size():
		return s.changed("it had %d bytes and has %d", s.before.Size(), now.Size())
	case !now.ModTime().Equal(s.before.ModTime()):
		return s.changed("it was modified at %s", now.ModTime().Format("15:04:05.000"))
	case more > 0:
		return s.untrue("more follow")
	}
	return nil
}
