// SPDX-License-Identifier: Apache-2.0

package keeptest

import (
	"context"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
)

// Store is a storage.Collector in memory that misbehaves where a test asks for it. It does not know ids.
type Store struct {
	Watch *OffLoop

	mu     sync.Mutex
	chunks map[core.Hash][]byte
	used   core.Size
	fails  map[string]error // by method: "put", "barrier", "used", "has"
}

// Fail has a method fail from now on; nil ends that.
func (s *Store) Fail(method string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails == nil {
		s.fails = map[string]error{}
	}
	s.fails[method] = why
}

// Lose takes chunks away behind everybody's back.
func (s *Store) Lose(chunks ...core.Chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chunks {
		s.used -= core.Size(len(s.chunks[c.Hash]))
		delete(s.chunks, c.Hash)
	}
}

func (s *Store) Put(_ context.Context, c core.Chunk, _ core.Hash, data []byte) (isNew bool, err error) {
	s.Watch.Called("Put")
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fails["put"]; err != nil {
		return false, err
	}
	if _, there := s.chunks[c.Hash]; there {
		return false, nil
	}
	if s.chunks == nil {
		s.chunks = map[core.Hash][]byte{}
	}
	s.chunks[c.Hash] = slices.Clone(data)
	s.used += core.Size(len(data))
	return true, nil
}

func (s *Store) Barrier(context.Context) error {
	s.Watch.Called("Barrier")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fails["barrier"]
}

func (s *Store) Find(context.Context, core.Hash) (core.Chunk, bool, error) {
	return core.Chunk{}, false, nil
}

func (s *Store) Get(_ context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	s.Watch.Called("Get")
	s.mu.Lock()
	defer s.mu.Unlock()
	data, there := s.chunks[hash]
	if !there {
		return dst, core.ErrNotFound
	}
	return append(dst, data...), nil
}

func (s *Store) Has(_ context.Context, hash core.Hash) (bool, error) {
	s.Watch.Called("Has")
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.chunks[hash]
	return there, s.fails["has"]
}

func (s *Store) Used(context.Context) (core.Size, error) {
	s.Watch.Called("Used")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, s.fails["used"]
}

func (s *Store) Collect(_ context.Context, live func(core.Hash) (bool, error), _ core.Notes) (freed core.Collected,
	err error) {
	s.Watch.Called("Collect")
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, data := range s.chunks {
		needed, err := live(hash)
		if err != nil {
			return freed, err
		}
		if !needed {
			freed.Freed += core.Size(len(data))
			s.used -= core.Size(len(data))
			delete(s.chunks, hash)
		}
	}
	return freed, nil
}

func (s *Store) Hold(context.Context) (release func() error, err error) {
	s.Watch.Called("Hold")
	return func() error { return nil }, nil
}

func (s *Store) Close() error { return nil }
