// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// Console is where a command reads and prints, and how. Data goes to Stdout, all else to Stderr.
type Console struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	JSON           bool
	Quiet          bool
	Verbose        bool
	Wide           bool // lines may be longer than the screen is wide
	Color          bool
	DataOut        bool   // the command writes a file's bytes to Stdout, so objects go to Stderr
	Mode           string // of progress: auto, plain, json or none
	Logging        Logging
	progress       progress
}

// objects is where JSON objects go.
func (con *Console) objects() io.Writer {
	if con.DataOut {
		return con.Stderr
	}
	return con.Stdout
}

// Fail prints the error that ended a command: the only place that does.
func (con *Console) Fail(command string, err error) {
	con.EndProgress()
	code, hint := core.CodeOf(err), core.HintOf(err)
	if con.JSON {
		_ = con.Object("exit_error", struct {
			Code    core.Code `json:"code"`
			Message string    `json:"message"`
			Hint    string    `json:"hint,omitempty"`
		}{code, err.Error(), hint})
		return
	}
	text := err.Error()
	if command != "" && !strings.HasPrefix(text, command+" ") && !strings.HasPrefix(text, command+": ") {
		text = command + ": " + text
	}
	width := con.width(con.Stderr)
	fmt.Fprintln(con.Stderr, foldLines(cleanLines("bkp: "+text), width))
	if hint != "" {
		fmt.Fprintln(con.Stderr, foldLines(cleanLines("hint: "+hint), width))
	}
}

// Say tells a person something that is not the result.
func (con *Console) Say(format string, args ...any) {
	if !con.Quiet && !con.JSON {
		con.interrupt(func() { con.tell(fmt.Sprintf(format, args...)) })
	}
}

// tell prints text to Stderr, folded to its width.
func (con *Console) tell(text string) {
	fmt.Fprintln(con.Stderr, foldLines(cleanLines(text), con.width(con.Stderr)))
}

// Logging says where what goes on behind a command is told, in which form and from which level on. The zero value is
// as the console is.
type Logging struct {
	To    io.Writer // Stderr where nil
	JSON  bool
	Level *slog.Level
}

// Log is for what goes on behind a command, from the given level on; --verbose shows all of it, one by one.
func (con *Console) Log(level slog.Level) *slog.Logger {
	switch {
	case con.Logging.Level != nil:
		level = *con.Logging.Level
	case con.Verbose:
		level = slog.LevelDebug
	case con.Quiet:
		level = slog.LevelError
	}
	to, color := con.Stderr, con.Color
	if con.Logging.To != nil {
		to, color = con.Logging.To, false
	}
	var h slog.Handler = tint.NewTextHandler(to, &tint.Options{Level: level, NoColor: !color})
	if con.JSON || con.Logging.JSON {
		h = slog.NewJSONHandler(to, &slog.HandlerOptions{Level: level})
	}
	if !con.Verbose {
		h = newRepeats(h)
	}
	return slog.New(h)
}

// IsTerminal tells whether a reader or writer is a terminal.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
