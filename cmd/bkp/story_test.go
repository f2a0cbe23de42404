// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bkp-tool/bkp/cmd/bkp/volume/nbd/nbdtest"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"bkp":                 main,
		"bkp-verifier-closed": func() { serve.Verifier(closed{}) }, // a plugin beside the binary
		"bkp-verifier-open":   func() { serve.Verifier(open{}) },
	})
}

// open is a verifier that refuses nothing.
type open struct{}

func (open) Verify(context.Context, core.VerifyRequest) (core.Verdict, error) {
	return core.Verdict{OK: true}, nil
}

// closed is a verifier that refuses everything.
type closed struct{}

func (closed) Verify(context.Context, core.VerifyRequest) (core.Verdict, error) {
	return core.Verdict{Code: "closed", Reason: "the office is closed"}, nil
}

// TestStories runs testdata/*.txtar against the real binary; see the commands below for what stories may say
// beyond testscript's own words. PORT1 to PORT4 are free ports.
func TestStories(t *testing.T) {
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Files: stories, Setup: storyEnv, Cmds: storyCommands})
}

// storyEnv is what every story finds around it.
func storyEnv(env *testscript.Env) error {
	for i := 1; i <= 4; i++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		env.Setenv(fmt.Sprintf("PORT%d", i), port)
	}
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("XDG_DATA_HOME", env.WorkDir+"/xdg")
	env.Setenv("BKP_DATA", env.WorkDir+"/data")
	env.Setenv("TZ", "UTC")
	golden, err := filepath.Abs(filepath.Join("testdata", "golden"))
	if err != nil {
		return err
	}
	env.Setenv("GOLDEN", golden)
	if strings.HasPrefix(filepath.Base(env.WorkDir), "script-s3") {
		if err := bucketEnv(env, strings.HasPrefix(filepath.Base(env.WorkDir), "script-s3-lock")); err != nil {
			return err
		}
	}
	env.Setenv("GORACE", "atexit_sleep_ms=0") // under the race detector every process would end a second later
	return nil
}

// storyCommands are the words of stories beyond testscript's own.
var storyCommands = map[string]func(*testscript.TestScript, bool, []string){
	"exits":      exits,
	"eventually": eventually,
	"content":    content,
	"mode":       mode,
	"flip":       flip,
	"bucket":     bucket,
	"nbd":        nbdClient,
}

// exits CODE COMMAND... runs a command that must end with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%v ended with code %d, want %d", args[1:], got, want)
	}
}

// eventually COMMAND... runs a command again and again until it succeeds.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(until) {
			ts.Fatalf("%v: %v", args, err)
		}
	}
}

// content FILE SEED BYTES... writes incompressible bytes, SEED and BYTES in turns, the same at every run.
func content(ts *testscript.TestScript, _ bool, args []string) {
	var out []byte
	for i := 1; i+1 < len(args); i += 2 {
		seed, err := strconv.ParseUint(args[i], 10, 64)
		ts.Check(err)
		n, err := strconv.Atoi(args[i+1])
		ts.Check(err)
		source := rand.NewChaCha8([32]byte{byte(seed)})
		part := make([]byte, n)
		_, _ = source.Read(part)
		out = append(out, part...)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out, 0o600))
}

// mode OCTAL FILE checks a file's permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// flip GLOB OFFSET flips a bit in the first file of that name; a negative offset counts from its end.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("nothing matches %s", args[0])
	}
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	data, err := os.ReadFile(files[0])
	ts.Check(err)
	data[(at+len(data))%len(data)] ^= 4
	ts.Check(os.WriteFile(files[0], data, 0o600))
}

// nbdClient is nbd PORT NAME read FILE, which copies a network block device, and nbd PORT NAME write AT TEXT. Where
// nobody listens yet it waits.
func nbdClient(ts *testscript.TestScript, neg bool, args []string) {
	var c *nbdtest.Client
	var err error
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err = nbdtest.Dial("127.0.0.1:"+args[0], args[1])
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(until) {
			break
		}
	}
	ts.Check(err)
	defer c.Close()
	switch args[2] {
	case "read":
		data := make([]byte, c.Size)
		if _, err = c.ReadAt(data, 0); err == nil {
			err = os.WriteFile(ts.MkAbs(args[3]), data, 0o600)
		}
	case "write":
		at, convErr := strconv.ParseInt(args[3], 10, 64)
		ts.Check(convErr)
		err = c.Do(nbdtest.Write, nbdtest.FUA, at, uint32(len(args[4])), []byte(args[4]))
	}
	if (err != nil) != neg {
		ts.Fatalf("nbd %v: %v", args, err)
	}
}

// lastPort is the port that was given last: below those that systems draw from for connections and for listeners
// without a port, since one of those would take it before the story listens.
var lastPort atomic.Int64

func freePort() (string, error) {
	lastPort.CompareAndSwap(0, int64(10_000+os.Getpid()%20_000))
	for range 1000 {
		port := strconv.FormatInt(lastPort.Add(1), 10)
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			return port, l.Close()
		}
	}
	return "", errors.New("no port of 1000 is free")
}
