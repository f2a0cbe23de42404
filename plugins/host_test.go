// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/serve"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
)

const (
	// makes the test binary a host of the verifier fine in that folder, which waits to be killed
	hostEnv = "BKP_TEST_HOST"
	stopEnv = "BKP_TEST_STOP" // or which stops the plugin and cleans up
	// makes it a host of the strategy inside it whose own file becomes another
	replacedEnv = "BKP_TEST_REPLACED"
)

// The test binary serves the strategy inside it when it is run as bkp runs itself.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == plugins.ServeCommand {
		serve.Strategy(seed.New())
		return
	}
	if len(os.Args) == 5 && os.Args[1] == plugins.RunCommand {
		fmt.Fprintln(os.Stderr, plugins.RunApart(os.Args[2], os.Args[3], os.Args[4]))
		os.Exit(1)
	}
	if dir := os.Getenv(hostEnv); dir != "" {
		v, err := (&plugins.Host{Path: []string{dir}}).Verifier(context.Background(), "fine")
		fmt.Println(v.PID(), err)
		if os.Getenv(stopEnv) == "" {
			select {}
		}
		_ = syscall.Kill(v.PID(), syscall.SIGSTOP)
		plugins.Cleanup()
		return
	}
	if name := os.Getenv(askEnv); name != "" {
		askOne(name, os.Getenv(dirEnv))
		return
	}
	if os.Getenv(replacedEnv) != "" {
		os.Exit(hostOfReplaced())
	}
	code := m.Run()
	plugins.Cleanup()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Println("FAIL: a closed plugin left something running:", err)
		code = 1
	}
	if misbehaver.dir != "" {
		_ = os.RemoveAll(misbehaver.dir)
	}
	os.Exit(code)
}

var misbehaver struct {
	once sync.Once
	dir  string
	err  error
}

// misbehaving is a host over a folder with testdata/misbehave under each of the names.
func misbehaving(t testing.TB, files ...string) *plugins.Host {
	t.Helper()
	b := &misbehaver
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "bkp-misbehave"); b.err == nil {
			build := exec.Command("go", "build", "-o", b.dir, "./testdata/misbehave")
			build.Stderr = os.Stderr
			b.err = build.Run()
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	dir, err := os.MkdirTemp(b.dir, "dir")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Link(filepath.Join(b.dir, "misbehave"), filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	return &plugins.Host{Path: []string{dir}, Lock: filepath.Join(t.TempDir(), "bkp.lock.toml"),
		StartTimeout: time.Minute, CallTimeout: time.Minute}
}

var three = core.Batch{Nodes: core.NodeColumns{ID: []string{"a", "b", "c"}}}

// says checks that err has code 20, the words, and a hint where one is wanted.
func says(t *testing.T, err error, words ...string) {
	t.Helper()
	if core.CodeOf(err) != core.CodePlugin {
		t.Errorf("code %d, want %d: %v", core.CodeOf(err), core.CodePlugin, err)
	}
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error()+"\nhint: "+core.HintOf(err), word) {
			t.Errorf("want %q in: %v\nhint: %s", word, err, core.HintOf(err))
		}
	}
	if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
		t.Errorf("not one clean line: %q", err)
	}
}

// Bad input 56, at the start: each is refused in time, by name, with what it did.
func TestStrategiesThatDoNotStart(t *testing.T) {
	t.Parallel()
	for name, words := range map[string][]string{
		"mute":     {"strategy mute: start it: not ready within 1s", "made for bkp?"},
		"stall":    {"strategy stall: start it: not ready within 1s"},
		"slow":     {"strategy slow: ask what it is: no answer within 1s"},
		"quitter":  {"strategy quitter: start it: no handshake, exit status 7: no disk, no plugin"},
		"stranger": {"strategy stranger: start it: no handshake, exit status 1", "hint: is "},
		"future":   {"speaks another protocol version than 1", "build the plugin again"},
		"liar":     {`says that it is "honest"`, "bkp-strategy-honest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := misbehaving(t, "bkp-strategy-"+name)
			switch name {
			case "mute", "stall":
				h.StartTimeout = time.Second
			case "slow":
				h.CallTimeout = time.Second
			}
			begun := time.Now()
			_, err := h.Strategy(t.Context(), name)
			says(t, err, words...)
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// Bad input 56, at the question.
func TestStrategiesThatAnswerBadly(t *testing.T) {
	t.Parallel()
	for name, words := range map[string][]string{
		"panics":     {"strategy panics: price 3 nodes: its process ended: exit status 2: panic: out of beans"},
		"crashes":    {"its process ended: exit status 3"},
		"hangs":      {"no answer within 1s"},
		"errs":       {"no beans [31m at all"},
		"nan":        {"bad answer: place_cost[1] is not a number", "tell its author"},
		"infinite":   {"target_weight[2] is too large"},
		"negative":   {"first_holder_weight[0] is negative"},
		"few":        {"column place_cost has 2 entries for 3 candidates"},
		"many":       {"column allow has 4 entries for 3 candidates"},
		"below":      {"quota_cap[1] is -1"},
		"spread":     {`"planet"`},
		"redundancy": {"redundancy of -1 replicas"},
		"gabble":     {"why of the redundancy"},
		"escape":     {"explain[0]"},
		"large":      {"4 MiB answered at most", "67108"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := misbehaving(t, "bkp-strategy-"+name)
			if name == "hangs" {
				h.CallTimeout = time.Second
			}
			s, err := h.Strategy(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			scores, err := s.Score(t.Context(), three)
			says(t, err, words...)
			if len(scores.PlaceCost)+len(scores.Explain) > 0 {
				t.Errorf("a bad answer came through: %d costs", len(scores.PlaceCost))
			}
		})
	}
}

// Bad input 56: unknown, and what looks like a plugin but is none.
func TestStrategiesThatAreNotThere(t *testing.T) {
	h := misbehaving(t, "bkp-strategy-nan", "bkp-verifier-fine")
	_, err := h.Strategy(t.Context(), "foo")
	says(t, err, `no strategy "foo"`, "known: nan", "bkp-strategy-foo", h.Path[0])
	_, err = h.Strategy(t.Context(), "../nan")
	says(t, err, "not the name of a plugin")

	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(h.Path[0], name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("bkp-strategy-text", "hello", 0o644)
	_, err = h.Strategy(t.Context(), "text")
	says(t, err, "is not executable")
	write("bkp-strategy-junk", "\x7fELF junk", 0o755)
	_, err = h.Strategy(t.Context(), "junk")
	says(t, err, "strategy junk: start it: ", "exec format error")
	write("bkp-strategy-shell", "#!/bin/sh\nsleep 1000 & exec echo hello\n", 0o755)
	h.StartTimeout = 2 * time.Second
	_, err = h.Strategy(t.Context(), "shell")
	says(t, err, "strategy shell: start it: ")
}

func TestPluginInheritsNothing(t *testing.T) {
	t.Setenv("BKP_CLUSTER_TOKEN", "secret")
	t.Setenv("TZ", "UTC")
	h := misbehaving(t, "bkp-strategy-spy")
	s, err := h.Strategy(t.Context(), "spy")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	scores, err := s.Score(t.Context(), three)
	if err != nil {
		t.Fatal(err)
	}
	if env := scores.Explain[0]; strings.Contains(env, "TOKEN") || strings.Contains(env, "HOME") ||
		!strings.Contains(env, "TZ") {
		t.Errorf("environment: %s", env)
	}
	if scores.Explain[1] != "stdin " {
		t.Errorf("read from bkp's standard input: %q", scores.Explain[1])
	}
}

func TestWhatAPluginLogs(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	h := misbehaving(t, "bkp-strategy-chatter")
	h.Log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := h.Strategy(t.Context(), "chatter")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Score(t.Context(), three); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for !strings.Contains(out.String(), "to standard output") && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	s.Close()
	for _, want := range []string{`level=WARN msg=boiling plugin="strategy chatter" cups=3`,
		`level=INFO msg="to standard output"`, "blah blah"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the log", want)
		}
	}
}

// What is done to a verifier's process makes every later verdict an error, until it is opened again.
func TestVerifierDiesBetweenCalls(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-fine")
	v, err := h.Verifier(t.Context(), "fine")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if verdict, err := v.Verify(t.Context(), core.VerifyRequest{}); err != nil || !verdict.OK {
		t.Fatalf("%+v, %v", verdict, err)
	}
	if err := syscall.Kill(v.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 3 { // with and without having seen it die
		verdict, err := v.Verify(t.Context(), core.VerifyRequest{})
		says(t, err, "verifier fine: judge a licence: its process", "signal: killed", "started again")
		if verdict.OK {
			t.Error("a dead verifier said yes")
		}
	}
	select {
	case <-v.Done():
	case <-time.After(5 * time.Second):
		t.Error("Done is open")
	}
	again, err := h.Verifier(t.Context(), "fine")
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if verdict, err := again.Verify(t.Context(), core.VerifyRequest{}); err != nil || !verdict.OK {
		t.Errorf("opened again: %+v, %v", verdict, err)
	}
}

func TestVerifiersThatDoNotJudge(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-hangs", "bkp-verifier-errs", "bkp-verifier-silent", "bkp-verifier-no")
	impatient := *h
	impatient.CallTimeout = time.Second
	verdicts := map[string]core.Verdict{}
	errs := map[string]error{}
	for _, name := range []string{"hangs", "errs", "silent", "no"} {
		host := h
		if name == "hangs" {
			host = &impatient
		}
		v, err := host.Verifier(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		verdicts[name], errs[name] = v.Verify(t.Context(), core.VerifyRequest{})
	}
	says(t, errs["hangs"], "verifier hangs: judge a licence: no answer within 1s")
	says(t, errs["errs"], "verifier errs: judge a licence: cannot reach the registry")
	if verdicts["hangs"].OK || verdicts["errs"].OK {
		t.Error("an error came with a yes")
	}
	if got, want := verdicts["silent"], (core.Verdict{Reason: "verifier silent gave no reason"}); got != want {
		t.Errorf("silent: %+v", got)
	}
	if got, want := verdicts["no"], (core.Verdict{Code: "moon", Reason: "wrong phase of the  [1mmoon"}); got != want {
		t.Errorf("no: %+v", got)
	}
}

func TestConfigurationWhereNoneIsTaken(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-fine")
	v, err := h.Verifier(t.Context(), "fine")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	says(t, v.Configure(t.Context(), []byte("{}")), "verifier fine: configure it: cannot do that: takes no configuration")
}

// A caller who gives up gets its own reason, not code 20.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-hangs")
	v, err := h.Verifier(t.Context(), "hangs")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := v.Verify(ctx, core.VerifyRequest{}); !errors.Is(err, context.Canceled) ||
		core.CodeOf(err) == core.CodePlugin {
		t.Errorf("%v, code %d", err, core.CodeOf(err))
	}
}

func TestCloseEndsAStoppedProcess(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-fine")
	v, err := h.Verifier(t.Context(), "fine")
	if err != nil {
		t.Fatal(err)
	}
	stop(t, strconv.Itoa(v.PID()))
	begun := time.Now()
	v.Close()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if !gone(v.PID()) {
		t.Error("still there")
	}
}

func TestPluginDiesWithItsHost(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-fine")
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), hostEnv+"="+h.Path[0], "TMPDIR="+h.Path[0]) // its socket folder stays behind
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil || pid == 0 || gone(pid) {
		t.Fatalf("plugin %d: %v", pid, err)
	}
	_ = host.Process.Kill()
	_ = host.Wait()
	deadline := time.Now().Add(5 * time.Second)
	for !gone(pid) {
		if time.Now().After(deadline) {
			t.Fatal("the plugin outlived its host")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A plugin that does not react does not keep bkp from ending, nor outlive it.
func TestCleanup(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-fine")
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), hostEnv+"="+h.Path[0], stopEnv+"=1")
	out, err := host.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(out), &pid); err != nil || pid == 0 || !gone(pid) {
		t.Errorf("plugin %d is still there: %v", pid, err)
	}
}

// gone reports whether a process has ended; one that nobody waited for has.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

func TestPluginInsideTheBinary(t *testing.T) {
	t.Parallel()
	h := misbehaving(t)
	h.Inside = []plugins.Name{{Kind: plugins.KindStrategy, Name: "seed"}}
	info, err := h.Info(t.Context(), plugins.KindStrategy, "seed")
	if err != nil {
		t.Fatal(err)
	}
	if !info.Inside || info.SHA256 != "" || info.Version == "" {
		t.Errorf("%+v", info)
	}
	if _, err := os.Stat(h.Lock); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a checksum was kept for a plugin inside: %v", err)
	}
	s, err := h.Strategy(t.Context(), "seed")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	plugintest.Strategy(t, s)
}

// hostOfReplaced puts another program in the place of the running one's file, and asks the strategy inside what it is.
func hostOfReplaced() int {
	self, err := os.Executable()
	if err == nil {
		err = os.WriteFile(self+".new", []byte("#!/bin/sh\necho another program\n"), 0o700)
	}
	if err == nil {
		err = os.Rename(self+".new", self)
	}
	var info plugins.Info
	if err == nil {
		h := plugins.Host{Inside: []plugins.Name{{Kind: plugins.KindStrategy, Name: "seed"}}}
		info, err = h.Info(context.Background(), plugins.KindStrategy, "seed")
	}
	plugins.Cleanup()
	fmt.Println(info.Name, err)
	if err != nil {
		return 1
	}
	return 0
}

// A node that runs while bkp is upgraded goes on with the plugins inside the program that it is.
func TestPluginInsideAProgramWhoseFileWasReplaced(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "bkp")
	if err := os.Link(self, program); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), replacedEnv+"=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A file takes the place of a plugin inside bkp only where that was said: by its folder, or by locking it.
func TestShippedNamesAreShadowedWhenTold(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-strategy-seed", "bkp-verifier-fine")
	h.Inside = []plugins.Name{{Kind: plugins.KindStrategy, Name: "seed"}, {Kind: plugins.KindStrategy, Name: "nearest"}}
	lists := func(when, want string) {
		t.Helper()
		found, err := h.List()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range found {
			got = append(got, fmt.Sprint(f.Name, " ", f.Inside, " ", f.Ignored != ""))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: got  %s\nwant %s", when, strings.Join(got, ", "), want)
		}
	}
	lists("untold", "strategy nearest true false, strategy seed true true, verifier fine false false")
	said := &syncBuffer{}
	h.Log = slog.New(slog.NewTextHandler(said, nil))
	if s, err := h.Strategy(t.Context(), "seed"); err != nil || !s.Found().Inside {
		t.Errorf("untold: %v", err)
	} else {
		s.Close()
	}
	if !strings.Contains(said.String(), "bkp-strategy-seed is not used") {
		t.Errorf("nobody was told of the file that is not used: %s", said)
	}
	told := *h
	told.Told = h.Path
	if f, err := told.Find(plugins.KindStrategy, "seed"); err != nil || f.Inside {
		t.Errorf("in a folder that was named: %+v %v", f, err)
	}
	if _, err := h.Relock(plugins.KindStrategy, "seed"); err != nil {
		t.Fatal(err)
	}
	lists("locked", "strategy nearest true false, strategy seed false false, verifier fine false false")
}

// A plugin whose file somebody else could replace is not run.
func TestFilesThatOthersMayWrite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		folder, file os.FileMode
		want         string
	}{
		{"only by the user", 0o755, 0o755, ""},
		{"a file by everybody", 0o755, 0o777, "may be written by others (mode 0777)"},
		{"a folder by everybody", 0o777, 0o755, "may be written by others (mode 0777)"},
		{"a folder by everybody, where only owners take files away", 0o777 | os.ModeSticky, 0o755, ""},
	} {
		h := misbehaving(t, "bkp-strategy-fine")
		file := filepath.Join(h.Path[0], "bkp-strategy-fine")
		text, err := os.ReadFile(file) // it is one file under many names
		if err == nil {
			err = errors.Join(os.Remove(file), os.WriteFile(file, text, 0o700), os.Chmod(file, c.file), os.Chmod(h.Path[0], c.folder))
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.Find(plugins.KindStrategy, "fine")
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.want != "" {
			says(t, err, c.want, "only you can write")
		}
	}
}

// What a plugin says where its handshake should stand is told: it is what its author needs to know.
func TestPluginThatPrintsBeforeItsHandshake(t *testing.T) {
	t.Parallel()
	h := scripted(t, "echo loading the model of seven layers", "exec sleep 60")
	_, err := h.Strategy(t.Context(), "script")
	says(t, err, `no handshake but the line "loading the model of seven layers"`, "in its first line")
}

// scripted is a host of a strategy that is a shell script.
func scripted(t *testing.T, lines ...string) *plugins.Host {
	t.Helper()
	h := misbehaving(t, "bkp-strategy-fine")
	script := "#!/bin/sh\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(h.Path[0], "bkp-strategy-script"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return h
}

// What a plugin starts ends with it, also what went to a session of its own, and however the plugin ends.
func TestDescendantsEndWithTheirPlugin(t *testing.T) {
	t.Parallel()
	for how, last := range map[string]string{
		"asked to":        `exec "$(dirname "$0")/bkp-strategy-script-inner"`,
		"by itself":       "exit 3",
		"by being killed": "echo no handshake; exec sleep 60",
	} {
		dir := t.TempDir()
		h := scripted(t, "cd "+dir, "sleep 300 >/dev/null 2>&1 & echo $! >one",
			"setsid sleep 300 >/dev/null 2>&1 & echo $! >two", "while ! [ -s two ]; do :; done", last)
		if how == "asked to" {
			if err := os.Link(filepath.Join(h.Path[0], "bkp-strategy-fine"), filepath.Join(h.Path[0], "bkp-strategy-script-inner")); err != nil {
				t.Fatal(err)
			}
		}
		s, err := h.Strategy(t.Context(), "script")
		if err == nil {
			s.Close()
		}
		for _, name := range []string{"one", "two"} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil || pid == 0 {
				t.Fatalf("%s: the script was not run: %v", how, err)
			}
			for wait := 0; !gone(pid); wait++ {
				if wait > 500 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
					t.Fatalf("%s: its process %s still runs", how, name)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
}

// The sockets of a program that was killed go when another one starts, and its own when it ends.
func TestSocketsOfKilledProgramsGo(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-verifier-fine")
	temp, err := os.MkdirTemp("", "s") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	run := func(env ...string) (pid int, end func()) {
		host := exec.Command(os.Args[0])
		host.Env = append(append(os.Environ(), hostEnv+"="+h.Path[0], "TMPDIR="+temp), env...)
		out, err := host.StdoutPipe()
		if err == nil {
			err = host.Start()
		}
		if err == nil {
			_, err = fmt.Fscan(out, &pid)
		}
		if err != nil {
			t.Fatal(err)
		}
		return pid, func() { _ = host.Process.Kill(); _ = host.Wait() }
	}
	left := func() int {
		entries, err := os.ReadDir(temp)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	_, kill := run()
	kill()
	_, stop := run() // beside it, another that lives
	if left() != 2 {
		t.Errorf("beside one that lives there are %d files, not its folder and its lock", left())
	}
	stop()
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), hostEnv+"="+h.Path[0], "TMPDIR="+temp, stopEnv+"=1")
	if err := host.Run(); err != nil || left() != 0 {
		t.Errorf("after one that ended in peace %d files are left: %v", left(), err)
	}
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// The suite finds a notifier that dies over an event, from outside its process.
func TestNotifierThatDiesBreaksARule(t *testing.T) {
	t.Parallel()
	n, err := misbehaving(t, "bkp-notifier-mortal").Notifier(t.Context(), "mortal")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	broken := map[string]error{}
	plugintest.NotifierRules(t.Context(), n, func(r plugintest.Rule) {
		if r.Err != nil {
			broken[r.Name] = r.Err
		}
	})
	if broken["is told an event of each kind"] != nil || broken["is told an event that there is not yet"] == nil {
		t.Errorf("broken: %v", broken)
	}
}
