package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/urfave/cli/v2"
)

// inputFlags are understood by what splits.
func inputFlags() []cli.Flag {
	return []cli.Flag{
		line.Text("command", "", "split what `COMMAND`, a line of sh, writes; unless it ends with 0 there is no "+
			"version"),
		line.Bool("allow-empty", "make a version also where standard input or the command gives not a byte"),
		line.Option("skip-unchanged", "true", "make no version of what the newest consists of; `HOW` is stat, the "+
			"default, where a "+
			"file of the same size, times and inode is not read, or content, which reads it in any case"),
	}
}

// skipUnchanged is how --skip-unchanged is to look; empty where it is not to.
func (c *call) skipUnchanged() (string, error) {
	switch how := c.String("skip-unchanged"); how {
	case "", "false":
		return "", nil
	case "true", "1", datadir.SkipByStat:
		return datadir.SkipByStat, nil
	case datadir.SkipByContent:
		return how, nil
	default:
		return "", line.UsageError("--skip-unchanged=%s: want stat or content", how)
	}
}

// told is for what became of a version that is there already: that nobody could be told of it is no failure of its
// making.
func (c *call) told(version string, err error) error {
	if err == nil {
		return nil
	}
	return core.WithHint(core.Fail(core.CodePartial, "%s is there, but what it came to could not be told: %w", version,
		err),
		"bkp show %s", version)
}

// input is what is to be split: a path, or a reader where that is empty. It must be closed.
type input struct {
	path   string
	reader io.Reader
	end    func() // of a command that runs still
}

// openInput finds what the command line names, and starts the command that it asks for.
func (c *call) openInput(ctx context.Context) (input, error) {
	command := c.String("command")
	switch named := c.Args().First(); {
	case c.Given("command") && command == "":
		return input{}, line.UsageError("--command is empty")
	case command != "" && named != "" && named != "-":
		return input{}, core.WithHint(line.UsageError("--command and %s: which of them?", core.Printable(named)),
			"leave out FILE")
	case command != "":
		r, err := startCommand(ctx, command, c.Stderr)
		if err != nil {
			return input{}, err
		}
		return input{reader: r, end: r.end}, nil
	case named == "":
		return input{}, errNoInput(c)
	case named == "-":
		return input{reader: dataIn{c.Stdin}}, nil
	default:
		return input{path: named}, nil
	}
}

func errNoInput(c *call) error {
	return core.WithHint(line.UsageError("wants FILE|-, got 0 arguments"), "bkp %s --help shows examples",
		c.Command.Name)
}

func (in input) Close() {
	if in.end != nil {
		in.end()
	}
}

func (in input) source() (*file.Source, error) {
	if in.reader != nil {
		return file.NewReader(in.reader), nil
	}
	return file.Open(in.path)
}

// dataIn is standard input where it gives the bytes of a file.
type dataIn struct{ io.Reader }

func (in dataIn) Read(p []byte) (int, error) {
	n, err := in.Reader.Read(p)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read standard input: %w", err)
	}
	return n, err
}

// commandGrace is how long a command has to end once it is told to.
const commandGrace = 2 * time.Second

// commandReader is what a command writes. Its end is io.EOF only where the command ended with 0: else an error that
// says how it ended.
type commandReader struct {
	line   string
	out    *os.File
	signal func(syscall.Signal) error
	ended  chan struct{}
	how    error // once it has ended
}

// startCommand runs a line of the shell until ctx ends. It gets a process group of its own, so that all of it can be
// told to end; but not where there is a terminal, which stops whoever asks for a password there from the background.
func startCommand(ctx context.Context, line string, stderr io.Writer) (*commandReader, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("run %q: %w", line, err)
	}
	defer in.Close()
	cmd, group := exec.Command("sh", "-c", line), 1
	cmd.Stdout, cmd.Stderr = in, stderr
	if tty, err := os.Open("/dev/tty"); err == nil {
		tty.Close()
	} else {
		cmd.SysProcAttr, group = &syscall.SysProcAttr{Setpgid: true}, -1
	}
	if err := cmd.Start(); err != nil {
		out.Close()
		return nil, fmt.Errorf("run %q: %w", line, err)
	}
	r := &commandReader{line: line, out: out, ended: make(chan struct{})}
	r.signal = func(s syscall.Signal) error {
		if r.isOver() && (group > 0 || r.how == nil) {
			return syscall.ESRCH // what it left running when all went well is meant to run
		}
		return syscall.Kill(group*cmd.Process.Pid, s)
	}
	go func() {
		r.how = cmd.Wait()
		close(r.ended)
	}()
	context.AfterFunc(ctx, func() { _ = r.signal(syscall.SIGTERM) })
	return r, nil
}

func (r *commandReader) Read(p []byte) (int, error) {
	n, err := r.out.Read(p)
	if err != io.EOF {
		return n, err
	}
	<-r.ended
	if r.how == nil {
		return n, io.EOF
	}
	return n, core.WithHint(core.Fail(core.CodeFailed, "the command %q failed: %w", r.line, r.how),
		"there is no version of what it wrote; run it alone to see why")
}

func (r *commandReader) isOver() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// end ends the command and what it started, as far as they run still.
func (r *commandReader) end() {
	_ = r.out.Close()
	_ = r.signal(syscall.SIGTERM)
	for until := time.Now().Add(commandGrace); r.signal(0) == nil && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	_ = r.signal(syscall.SIGKILL)
	<-r.ended
}
