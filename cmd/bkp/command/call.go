// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"io"
	"os"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/owner"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/urfave/cli/v2"
)

// Call is one run of a command: what it was told, and what it works with.
type Call struct {
	*line.Flags
	*render.Console
	*owner.Identity
	*session.Opener
	Dir datadir.Dir
}

// newCall reads what the command was told, and finds the data directory.
func newCall(cc *cli.Context) (*Call, error) {
	read, err := line.Read(cc)
	if err != nil {
		return nil, err
	}
	con := cc.App.Metadata["console"].(*render.Console)
	dir := datadir.Dir(read.Settings.Data)
	c := &Call{Flags: read, Console: con, Dir: dir, Identity: owner.New(read, con, dir)}
	c.Opener = session.NewOpener(read, con, dir, c.Identity.Current())
	return c, configure(con, cc)
}

// configure reads the global flags that say how to print.
func configure(con *render.Console, cc *cli.Context) error {
	con.JSON, con.Quiet, con.Verbose = cc.Bool("json"), cc.Bool("quiet"), cc.Bool("verbose")
	con.Wide = cc.Bool("wide")
	con.Color = !cc.Bool("no-color") && os.Getenv("NO_COLOR") == "" && render.IsTerminal(con.Stderr)
	con.Mode = cc.String("progress")
	switch con.Mode {
	case "auto", "plain", "json", "none":
		return nil
	}
	return line.UsageError("--progress %q: want auto, plain, json or none", con.Mode)
}

// narrow makes the data directory its owner's alone, and says where it was not.
func (c *Call) narrow() {
	switch open, narrowed := c.Dir.Narrow(); {
	case narrowed:
		c.Say("warning: %s could be read by others, and is yours alone now", string(c.Dir))
	case open:
		c.Say("warning: others can look into %s: give bkp a directory of its own", string(c.Dir))
	}
}

// ReadInput reads a file; - is standard input.
func (c *Call) ReadInput(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(c.Stdin)
	}
	return os.ReadFile(path)
}

// ReadAtMost reads a file that has limit bytes at most; - is standard input.
func (c *Call) ReadAtMost(path string, limit int64) ([]byte, error) {
	in := c.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, line.UsageError("%w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(text)) > limit {
		return nil, line.UsageError("%s: more than %d bytes", path, limit)
	}
	return text, nil
}

// WriteOutput writes a file anew, whole or not at all; - is standard output, and then all else goes to standard error.
func (c *Call) WriteOutput(path string, data []byte) error {
	if path == "-" {
		_, err := c.Stdout.Write(data)
		return err
	}
	return durable.Replace(path, data, 0o666)
}
