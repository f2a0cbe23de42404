package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/bkp-tool/bkp/core"
	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v2"
)

// console is where a command reads and prints, and how. Data goes to out, all else to err.
type console struct {
	in       io.Reader
	out, err io.Writer
	json     bool
	quiet    bool
	verbose  bool
	color    bool
	dataOut  bool // the command writes a file's bytes to out, so objects go to err
	mode     string
	progress progress
}

// configure reads the global flags.
func (con *console) configure(cc *cli.Context) error {
	con.json, con.quiet, con.verbose = cc.Bool("json"), cc.Bool("quiet"), cc.Bool("verbose")
	con.color = !cc.Bool("no-color") && os.Getenv("NO_COLOR") == "" && isTerminal(con.err)
	con.mode = cc.String("progress")
	switch con.mode {
	case "auto", "plain", "json", "none":
		return nil
	}
	return usageError("--progress %q: want auto, plain, json or none", con.mode)
}

// objects is where JSON objects go.
func (con *console) objects() io.Writer {
	if con.dataOut {
		return con.err
	}
	return con.out
}

// fail prints the error that ended a command: the only place that does.
func (con *console) fail(command string, err error) {
	con.endProgress()
	code, hint := core.CodeOf(err), core.HintOf(err)
	if con.json {
		_ = writeObject(con.objects(), "exit_error", struct {
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
	fmt.Fprintf(con.err, "bkp: %s\n", cleanLines(text))
	if hint != "" {
		fmt.Fprintf(con.err, "hint: %s\n", cleanLines(hint))
	}
}

// say tells a person something that is not the result.
func (con *console) say(format string, args ...any) {
	if !con.quiet && !con.json {
		con.interrupt(func() { fmt.Fprintln(con.err, cleanLines(fmt.Sprintf(format, args...))) })
	}
}

// log is for what goes on behind a command, from the given level on; --verbose shows all of it, one by one.
func (con *console) log(level slog.Level) *slog.Logger {
	switch {
	case con.verbose:
		level = slog.LevelDebug
	case con.quiet:
		level = slog.LevelError
	}
	var h slog.Handler = tint.NewTextHandler(con.err, &tint.Options{Level: level, NoColor: !con.color})
	if con.json {
		h = slog.NewJSONHandler(con.err, &slog.HandlerOptions{Level: level})
	}
	if !con.verbose {
		h = newRepeats(h)
	}
	return slog.New(h)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// clean makes a name safe to show: unless every rune of it prints, those that do not are escaped as in Go source.
func clean(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			q := strconv.Quote(s)
			return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
		}
	}
	return s
}

// cleanLines is clean for text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	return strings.Join(lines, "\n")
}
