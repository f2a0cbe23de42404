// SPDX-License-Identifier: Apache-2.0

// Package health is what is wrong with a node.
package health

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core/wire"
)

// Reason is one thing that is wrong.
type Reason struct {
	Key     string
	Text    string
	Refuses bool // as long as it is, nothing new is kept
	Since   time.Time
}

// Health is what is wrong with a node, as whoever notices says: a verifier that is gone, a disk that failed, records
// that disagree. The zero value is well. Any goroutine may use it.
type Health struct {
	mu      sync.Mutex
	reasons map[string]Reason
}

// Degrade notes that something is wrong. The same key again takes the newer text and keeps since when it has been so.
func (h *Health) Degrade(key, text string, refuses bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reasons == nil {
		h.reasons = map[string]Reason{}
	}
	since := time.Now()
	if before, is := h.reasons[key]; is {
		since = before.Since
	}
	h.reasons[key] = Reason{Key: key, Text: text, Refuses: refuses, Since: since}
}

// Recover takes back what was noted under the key; where nothing was, nothing changes.
func (h *Health) Recover(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.reasons, key)
}

// Reasons is what is wrong now, those first that keep the node from accepting tasks, then by key.
func (h *Health) Reasons() []Reason {
	h.mu.Lock()
	defer h.mu.Unlock()
	reasons := make([]Reason, 0, len(h.reasons))
	for _, r := range h.reasons {
		reasons = append(reasons, r)
	}
	slices.SortFunc(reasons, func(a, b Reason) int {
		switch {
		case a.Refuses == b.Refuses:
			return strings.Compare(a.Key, b.Key)
		case a.Refuses:
			return -1
		}
		return 1
	})
	return reasons
}

// Refuses reports whether nothing new can be kept here, and why.
func (h *Health) Refuses() (why string, is bool) {
	if reasons := h.Reasons(); len(reasons) > 0 && reasons[0].Refuses {
		return reasons[0].Text, true
	}
	return "", false
}

// Told is the reasons as peers hear them, the first so many, each cut to its bounds.
func (h *Health) Told() (texts []string) {
	for _, r := range h.Reasons() {
		if len(texts) < wire.MaxReasons {
			texts = append(texts, strings.ToValidUTF8(r.Text[:min(len(r.Text), wire.MaxReason)], ""))
		}
	}
	return texts
}
