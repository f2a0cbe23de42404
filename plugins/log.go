// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/bkp-tool/bkp/plugins/contract"
)

const maxLine = 8 << 10 // bytes of a log line; the rest of it is dropped

// lines logs what a plugin writes, line by line: hclog's JSON at its own level and with its attributes, all else at the
// given level.
type lines struct {
	log   *slog.Logger
	level slog.Level

	mu    sync.Mutex
	part  []byte // of a line not yet ended, at most maxLine
	fatal string // the first line of a Go program that dies
	plain string // the latest line that was not JSON, or the latest error in JSON
}

// ends are what a Go program says first when it dies.
var ends = []string{"panic: ", "fatal error: ", "SIGSEGV: "}

func newLines(log *slog.Logger, level slog.Level) *lines { return &lines{log: log, level: level} }

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := text; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		l.part = append(l.part, line[:min(len(line), maxLine-len(l.part))]...)
		rest = after
		if ended {
			l.line(l.part)
			l.part = l.part[:0]
		}
	}
	return len(text), nil
}

// end logs a last line without an end.
func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line(l.part)
	l.part = l.part[:0]
}

func (l *lines) line(line []byte) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || l.entry(line) {
		return
	}
	text := contract.Clean(string(line))
	if l.fatal == "" && slices.ContainsFunc(ends, func(words string) bool { return strings.HasPrefix(text, words) }) {
		l.fatal = text
	}
	l.plain = text
	l.log.Log(context.Background(), l.level, text)
}

// entry logs a line that hclog wrote as JSON, and reports whether it was one.
func (l *lines) entry(line []byte) bool {
	var fields map[string]any
	if line[0] != '{' || json.Unmarshal(line, &fields) != nil {
		return false
	}
	message, ok := fields["@message"].(string)
	if !ok {
		return false
	}
	name, _ := fields["@level"].(string)
	level := hclog.LevelFromString(name)
	if level == hclog.Error {
		l.plain = contract.Clean(fmt.Sprint(message, ": ", fields["error"]))
	}
	var attrs []slog.Attr
	for key, value := range fields {
		if !strings.HasPrefix(key, "@") {
			attrs = append(attrs, slog.Any(contract.Clean(key), value))
		}
	}
	l.log.LogAttrs(context.Background(), slogLevel(level), contract.Clean(message), attrs...)
	return true
}

// last is why the plugin ended, as far as it said: its panic, or its last line.
func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal != "" {
		return l.fatal
	}
	return l.plain
}

func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Info:
		return slog.LevelInfo
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelDebug
	}
}

// quiet routes what go-plugin itself logs to log's debug level: what matters of it is in our errors.
func quiet(log *slog.Logger) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Trace})
	logger.RegisterSink(sink{log})
	return logger
}

type sink struct{ log *slog.Logger }

func (s sink) Accept(_ string, _ hclog.Level, message string, args ...any) {
	s.log.Debug(message, args...)
}
