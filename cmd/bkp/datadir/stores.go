// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"errors"
	"fmt"
	"io"

	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// Stores is what a node stands on: what is staged, what is known of what went from there, and the records of what
// it keeps for others.
type Stores struct {
	Staging   storage.Collector
	Offloaded *disk.Away
	*Records
}

// OpenStores opens them, and makes those that are not there yet.
func (d Dir) OpenStores(signer *key.Signer, told Told) (*Stores, error) {
	staging, err := openChunks(d.Path("staging"))
	if err != nil {
		return nil, fmt.Errorf("open staging: %w", err)
	}
	return d.openAround(staging, signer, told)
}

// openChunks opens a place for chunks: staging, and what is kept for others.
func openChunks(dir string) (storage.Collector, error) { return opened(disk.Open(dir)) }

// readChunks opens one that is left as it is.
func readChunks(dir string) (storage.Collector, error) { return opened(disk.OpenRead(dir)) }

// opened is none where there is an error.
func opened(s storage.Collector, err error) (storage.Collector, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// OpenStoresBeside opens those of a node that leaves the data directory from as it is: what is staged is read there.
func (d Dir) OpenStoresBeside(from Dir, signer *key.Signer, told Told) (*Stores, error) {
	if !from.Has("staging") {
		return d.OpenStores(signer, told)
	}
	staging, err := readChunks(from.Path("staging"))
	if err != nil {
		return nil, fmt.Errorf("open staging: %w", err)
	}
	return d.openAround(staging, signer, told)
}

func (d Dir) openAround(staging storage.Collector, signer *key.Signer, told Told) (_ *Stores, err error) {
	s := &Stores{Staging: staging}
	opened := Closers{staging}
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	if s.Offloaded, err = disk.OpenAway(d.Path("away")); err != nil {
		return nil, err
	}
	opened = append(opened, s.Offloaded)
	if s.Records, err = d.OpenRecords(signer, told); err != nil {
		return nil, err
	}
	s.Closers = append(opened, s.Closers...)
	return s, nil
}

// Closers is what must be closed once the node is, last opened first.
type Closers []io.Closer

func (s Closers) Close() error {
	var errs []error
	for i := len(s) - 1; i >= 0; i-- {
		errs = append(errs, s[i].Close())
	}
	return errors.Join(errs...)
}
