// SPDX-License-Identifier: Apache-2.0

package node

import (
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/urfave/cli/v2"
)

// logFlags say what a node tells of what it does, and where.
func logFlags() []cli.Flag {
	return []cli.Flag{
		line.Text("log-level", "info", "tell what is of `LEVEL` or above: debug, info, warn or error"),
		line.Text("log-format", "text", "tell it as `HOW`: text or json"),
		line.Text("log-file", "", "append it to `FILE` instead of standard error; HUP opens it anew"),
	}
}

// logFile is a file that a log is appended to, and that can be opened anew once it was moved away. Any goroutine may
// use it.
type logFile struct {
	mu   sync.Mutex
	path string
	file *os.File
}

// reopen appends to the file that has the path now; where that fails it stays with the one before.
func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return line.UsageError("--log-file: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
	}
	l.file = f
	return nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(p)
}

// configureLog has the node tell what it does as the flags say; again is for HUP.
func configureLog(c *command.Call) (again func(), err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, line.UsageError("--log-level %q: want debug, info, warn or error", c.String("log-level"))
	}
	if c.Given("log-level") || !c.Verbose && !c.Quiet {
		c.Logging.Level = &level
	}
	switch how := strings.ToLower(c.String("log-format")); how {
	case "text", "json":
		c.Logging.JSON = how == "json"
	default:
		return nil, line.UsageError("--log-format %q: want text or json", how)
	}
	if c.String("log-file") == "" {
		return func() {}, nil
	}
	file := &logFile{path: c.String("log-file")}
	if err := file.reopen(); err != nil {
		return nil, err
	}
	c.Logging.To = file
	return func() {
		if err := file.reopen(); err != nil {
			c.Say("warning: %v", err)
		}
	}, nil
}
