// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/go-json-experiment/json"
)

// Memory is what was measured, as it is kept over restarts.
type Memory struct {
	V     int          `json:"v"`
	Up    []Sample     `json:"up"`
	Links []memoryLink `json:"links"`
}

type memoryLink struct {
	Peer    core.ID  `json:"peer"`
	Samples []Sample `json:"samples"`
}

const (
	memoryVersion = 1
	maxMemory     = 256 // links, those that were measured last
)

// Recall is the links as they were written down.
func Recall(text []byte) (*Links, error) {
	l := New()
	var m Memory
	if err := json.Unmarshal(text, &m); err != nil {
		return l, err
	}
	if m.V != memoryVersion {
		return l, fmt.Errorf("version %d of what was measured is not known", m.V)
	}
	l.Up = recall(m.Up)
	for _, one := range m.Links[:min(len(m.Links), maxMemory)] {
		l.links[one.Peer] = &link{Estimate: recall(one.Samples)}
	}
	return l, nil
}

// Changed is what is to be written down; nil where it has not changed since it was asked for last.
func (l *Links) Changed() *Memory {
	if !l.dirty {
		return nil
	}
	l.dirty = false
	m := &Memory{V: memoryVersion, Up: l.Up.Samples()}
	for id, one := range l.links {
		if samples := one.Samples(); len(samples) > 0 {
			m.Links = append(m.Links, memoryLink{id, samples})
		}
	}
	last := func(one memoryLink) int64 { return one.Samples[len(one.Samples)-1].At }
	slices.SortFunc(m.Links, func(a, b memoryLink) int {
		return cmp.Or(cmp.Compare(last(b), last(a)), a.Peer.Compare(b.Peer))
	})
	m.Links = m.Links[:min(len(m.Links), maxMemory)]
	return m
}

// Text is what Recall reads.
func (m *Memory) Text() ([]byte, error) {
	text, err := json.Marshal(m)
	return append(text, '\n'), err
}
