// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// refs/ALIAS/VERSION.noted-HASH is what a machine that may only write needs to know of a ref that it sealed and cannot
// open: with the key of its content while that is here, without it from when peers keep it.
const notedMark = ".noted-"

func (s Refs) noted(alias string, version int, sealed core.Hash) string {
	return s.file(alias, version) + notedMark + hex.EncodeToString(sealed[:16])
}

// Note makes Refs key.Notes.
func (s Refs) Note(alias string, version int, sealed core.Hash, body []byte) error {
	return s.write(s.noted(alias, version, sealed), body)
}

// Noted makes Refs key.Notes.
func (s Refs) Noted(alias string, version int, sealed core.Hash) ([]byte, error) {
	body, err := os.ReadFile(s.noted(alias, version, sealed))
	if errors.Is(err, fs.ErrNotExist) {
		err = core.ErrNotFound
	}
	return body, err
}

// forget drops the key of a version's content from all that was noted of it: also for a ref that is about to come.
func (s Refs) forget(alias string, version int) error {
	resumed := s.resumed(alias, version)
	for _, path := range s.notes(alias, version) {
		body, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || path == resumed {
			continue
		}
		without, forgetErr := key.Forget(body)
		if err = errors.Join(err, forgetErr); err == nil && !bytes.Equal(without, body) {
			err = durable.Replace(path, without, 0o600)
		}
		if err != nil {
			return fmt.Errorf("forget %s: %w", path, err)
		}
	}
	return nil
}

// notes is the files with what was noted of a version.
func (s Refs) notes(alias string, version int) []string {
	paths, _ := filepath.Glob(s.file(alias, version) + notedMark + "*") // the pattern is good
	return paths
}

// resumed is the note of a split that was interrupted; "" without one. Its ref is of version 1, whatever the version
// will be.
func (s Refs) resumed(alias string, version int) string {
	c, ok := s.readCheckpoint(alias)
	if !ok || version != 1 {
		return ""
	}
	return s.notedFor(alias, version, c.Envelope)
}

// notedFor is the note of an envelope; "" where that is damaged.
func (s Refs) notedFor(alias string, version int, envelope []byte) string {
	r, err := key.OpenRef(envelope)
	if err != nil {
		return ""
	}
	return s.noted(alias, version, key.SealedBy(r))
}

// dropNotes removes what was noted of a version that was removed. What a loss of power brings back goes with the next
// gc.
func (s Refs) dropNotes(alias string, version int) error {
	resumed := s.resumed(alias, version)
	for _, path := range s.notes(alias, version) {
		if path != resumed {
			if err := durable.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("forget what was noted: %w", err)
			}
		}
	}
	return nil
}

// noteLife is longer than it takes from a note to the ref that it is for.
const noteLife = 24 * time.Hour

// tidyNotes removes old notes that no ref and no checkpoint needs any more, and has those forget keys that were to.
func (s Refs) tidyNotes() error {
	paths, err := filepath.Glob(filepath.Join(s.dir, "*", "*"+notedMark+"*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		name, _, _ := strings.Cut(filepath.Base(path), notedMark)
		version, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		alias := filepath.Base(filepath.Dir(path))
		if _, err := os.Stat(s.offloadedFile(alias, version)); err == nil {
			if err := s.forget(alias, version); err != nil {
				return err
			}
		}
		info, err := os.Stat(path)
		if err != nil || time.Since(info.ModTime()) < noteLife || path == s.resumed(alias, version) {
			continue
		}
		envelope, err := os.ReadFile(s.file(alias, version))
		if noted := s.notedFor(alias, version, envelope); err == nil && (noted == path || noted == "") ||
			err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // who can say what a damaged ref needs?
		}
		if err := durable.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget what was noted: %w", err)
		}
	}
	return nil
}
