// SPDX-License-Identifier: Apache-2.0

package render

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	repeatsAfter = time.Minute // one line of a kind, and how many more there were, at most so often
	repeatsKinds = 1 << 10     // remembered; beyond, all are forgotten, and are told anew
)

// repeats is a handler of a log that tells a warning once where it comes again and again, as a full disk does with
// every run that it refuses. Warnings are of one kind where they say the same of the same peer, but for words with
// digits in them: which run, which chunk, how many bytes.
type repeats struct {
	slog.Handler
	kinds *repeatedKinds
}

type repeatedKinds struct {
	mu    sync.Mutex
	kinds map[string]*repeated
}

// repeated is a kind of warning that was told within the last minute.
type repeated struct {
	more int // that were not told
	last slog.Record
}

func newRepeats(h slog.Handler) slog.Handler {
	return repeats{h, &repeatedKinds{kinds: map[string]*repeated{}}}
}

func (h repeats) WithAttrs(attrs []slog.Attr) slog.Handler {
	return repeats{h.Handler.WithAttrs(attrs), h.kinds}
}
func (h repeats) WithGroup(name string) slog.Handler {
	return repeats{h.Handler.WithGroup(name), h.kinds}
}

func (h repeats) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.Handler.Handle(ctx, r)
	}
	k, kind := h.kinds, kindOf(r)
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.kinds[kind]; known != nil {
		known.more++
		known.last = r.Clone()
		return nil
	}
	if len(k.kinds) >= repeatsKinds {
		clear(k.kinds)
	}
	this := &repeated{}
	k.kinds[kind] = this
	time.AfterFunc(repeatsAfter, func() { h.sum(kind, this) })
	return h.Handler.Handle(ctx, r)
}

// sum tells how many of a kind there were in the last minute, and goes on watching where there were any.
func (h repeats) sum(kind string, this *repeated) {
	k := h.kinds
	k.mu.Lock()
	defer k.mu.Unlock()
	if this.more == 0 || k.kinds[kind] != this {
		if k.kinds[kind] == this {
			delete(k.kinds, kind)
		}
		return
	}
	this.last.AddAttrs(slog.Int("more_like_it", this.more-1))
	_ = h.Handler.Handle(context.Background(), this.last)
	this.more = 0
	time.AfterFunc(repeatsAfter, func() { h.sum(kind, this) })
}

// kindOf is what a warning says but for its particulars.
func kindOf(r slog.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "peer", "from", "to":
			fmt.Fprintf(&b, "\n%s", a.Value)
		case "error", "reason":
			for word := range strings.FieldsSeq(a.Value.String()) {
				if !strings.ContainsFunc(word, unicode.IsDigit) {
					b.WriteString(" " + word)
				}
			}
		}
		return true
	})
	return b.String()
}
