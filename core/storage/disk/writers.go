// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

func (s *Store) writersDir() string    { return filepath.Join(filepath.Dir(s.dir), "writers") }
func (s *Store) condemnedPath() string { return filepath.Join(s.writersDir(), "CONDEMNED") }

// condemned is the packs that no writer may lean on any more, each with the epoch that its condemnation began.
type condemned struct {
	epoch uint64
	packs map[string]uint64
}

const condemnedHead = "bkp condemned 1"

// readCondemned is what CONDEMNED says. Where it is lost or damaged nothing is condemned and the epoch is 0: whoever
// enters then counts as older than every condemnation, and a collection begins anew above all epochs that it meets.
func (s *Store) readCondemned() condemned {
	c, err := parseCondemned(s.condemnedPath())
	if err != nil {
		return condemned{packs: map[string]uint64{}}
	}
	return c
}

func parseCondemned(path string) (c condemned, err error) {
	c.packs = map[string]uint64{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	broken := core.Fail(core.CodeWrong, "it does not match its hash")
	if len(text) < 65 {
		return c, broken
	}
	body, sum := text[:len(text)-65], text[len(text)-65:]
	if want := blake3.Sum256(body); string(sum) != hex.EncodeToString(want[:])+"\n" {
		return c, broken
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	if len(lines) < 2 || lines[0] != condemnedHead {
		return c, core.Fail(core.CodeWrong, "it is of another form")
	}
	if c.epoch, err = strconv.ParseUint(lines[1], 10, 64); err != nil {
		return c, core.Fail(core.CodeWrong, "its epoch: %w", err)
	}
	for _, line := range lines[2:] {
		name, epoch, _ := strings.Cut(line, " ")
		if c.packs[name], err = strconv.ParseUint(epoch, 10, 64); err != nil {
			return c, core.Fail(core.CodeWrong, "the epoch of pack %s: %w", name, err)
		}
	}
	return c, nil
}

// write makes this what every writer reads that enters from now on. Nobody minds losing it with the power: no writer
// outlives that.
func (c condemned) write(path string) error {
	var body bytes.Buffer
	fmt.Fprintf(&body, "%s\n%d\n", condemnedHead, c.epoch)
	for name, epoch := range c.packs {
		fmt.Fprintf(&body, "%s %d\n", name, epoch)
	}
	sum := blake3.Sum256(body.Bytes())
	return durable.Replace(path, append(body.Bytes(), hex.EncodeToString(sum[:])+"\n"...), 0o600)
}

// writer is one who may lean on what it finds here: a file writers/EPOCH.PID.RANDOM that is locked for as long as it
// lives.
type writer struct {
	core.Writer
	path string
	lock *durable.Lock
}

// enter takes a writer in and returns what it must not lean on. Its epoch is read before its file is there, and what is
// condemned after: either it knows of a condemnation, or whoever condemned finds it, or both.
func (s *Store) enter() (*writer, condemned, error) {
	for range 100 {
		epoch := s.readCondemned().epoch
		var random [8]byte
		rand.Read(random[:]) // never fails
		w := &writer{Writer: core.Writer{PID: os.Getpid(), Epoch: epoch}}
		w.path = filepath.Join(s.writersDir(), fmt.Sprintf("%d.%d.%x", epoch, w.PID, random))
		w.lock = durable.NewLock(w.path)
		got, err := w.lock.TryRLock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, condemned{}, err
		}
		if _, err := os.Stat(w.path); err == nil && got {
			return w, s.readCondemned(), nil
		}
		_ = w.lock.Close() // a collection took it for one that a dead process left
		_ = durable.Remove(w.path)
	}
	return nil, condemned{}, fmt.Errorf("other processes take every new file in %s away", s.writersDir())
}

// leave lets a writer go. During a collection its file stays as a trace that somebody was here.
func (s *Store) leave(w *writer) error {
	gate := s.gate()
	if got, err := gate.TryRLock(); err == nil && got {
		_ = durable.Remove(w.path)
	}
	return errors.Join(gate.Close(), w.lock.Close())
}

// parseWriter tells a writer by the name of its file.
func parseWriter(file string) (w core.Writer, ok bool) {
	parts := strings.Split(file, ".")
	if len(parts) != 3 || len(parts[2]) != 16 {
		return w, false
	}
	var err error
	if w.Epoch, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return w, false
	}
	w.PID, err = strconv.Atoi(parts[1])
	return w, err == nil
}

// gate is held by a collection alone, and shared for a moment by a writer that removes its file.
func (s *Store) gate() *durable.Lock {
	return durable.NewLock(filepath.Join(s.writersDir(), "lock"))
}

// closeGate begins a collection; there is one at a time.
func (s *Store) closeGate() (*durable.Lock, error) {
	gate := s.gate()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	got, err := gate.TryLockContext(ctx, 10*time.Millisecond)
	if got {
		return gate, nil
	}
	_ = gate.Close()
	if ctx.Err() != nil {
		return nil, locked("sweep")
	}
	return nil, fmt.Errorf("sweep: %w", err)
}

// others is who writes to the store but this Store itself, and who did and is gone, whose files go now. The gate is
// closed.
func (s *Store) others() (living, gone []core.Writer, err error) {
	files, err := os.ReadDir(s.writersDir())
	if err != nil {
		return nil, nil, fmt.Errorf("list writers: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(s.writersDir(), f.Name())
		w, ok := parseWriter(f.Name())
		if !ok || path == s.self.path {
			continue
		}
		if info, err := f.Info(); err == nil {
			w.Since = info.ModTime()
		}
		lock := durable.LockOf(path)
		got, err := lock.TryLock()
		if got {
			gone = append(gone, w)
			_ = durable.Remove(path) // while it is locked: who is just making it notices
		} else if err == nil {
			living = append(living, w)
		}
		_ = lock.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("look after writer %s: %w", f.Name(), err)
		}
	}
	return living, gone, nil
}

// Hold makes every collection that ends after now wait with what it condemns until release is called, as if another
// process had the store open for writing. It is for who finds chunks through a Store that lives longer than the work
// that needs them.
func (s *Store) Hold(ctx context.Context) (release func() error, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, fmt.Errorf("hold the store: %w", err)
	}
	if s.readOnly {
		return nil, errors.New("hold the store: it is open for reading only")
	}
	w, list, err := s.enter()
	if err == nil {
		err = s.condemn(list)
	}
	if err != nil {
		return nil, fmt.Errorf("hold the store: %w", err)
	}
	return func() error { return s.leave(w) }, nil
}

// condemn lets nobody here lean on these packs from now on; those condemned before and not any more count again.
func (s *Store) condemn(list condemned) error {
	s.mu.Lock()
	s.condemned = maps.Clone(list.packs)
	s.forget()
	s.mu.Unlock()
	return s.refresh(true)
}
