// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/job"
	"github.com/bkp-tool/bkp/cmd/bkp/metrics"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
)

// jobGrace is how long a job that is stopped with its node may take to end.
const jobGrace = 10 * time.Second

// startJobs has the jobs of config.toml run by the clock, until the function that it returns is called.
func (op *Opener) startJobs(ctx context.Context, n *commands.Node) (end func()) {
	tell := func(e core.Event) {
		if e.Node = n.ID(); n.Tell != nil {
			n.Tell(e)
		}
	}
	settings := op.settingsPath()
	start := func(ctx context.Context, name string) error { return op.runJob(ctx, name, settings) }
	clock := job.NewClock(job.Store(op.dir.Path("jobs")), start, tell, n.Log)
	op.reloading.Lock()
	clock.Set(op.flags.Settings.Jobs)
	op.reloaded = func() { clock.Set(op.flags.Settings.Jobs) }
	op.reloading.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		clock.Run(ctx)
	}()
	return func() { cancel(); <-ended }
}

// runJob carries a job out: bkp job run in a process of its own, which asks this node for what it needs, as any other
// command of a person does.
func (op *Opener) runJob(ctx context.Context, name, settings string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "job", "run", "--quiet", "--progress=none", "--data="+string(op.dir),
		"--config="+settings, "--", name)
	var said bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &said, jobGrace
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		code := core.CodeFailed
		if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() > 0 {
			code = core.Code(cmd.ProcessState.ExitCode())
		}
		words := strings.TrimSpace(said.String())
		return core.Fail(code, "%w: %.1000s", err, words)
	}
	return nil
}

func (op *Opener) settingsPath() string {
	op.reloading.Lock()
	defer op.reloading.Unlock()
	return op.flags.Settings.Path
}

// jobStates is how it is with the jobs, for metrics; one of which nothing can be read has not run.
func (op *Opener) jobStates() (states []metrics.Job) {
	op.reloading.Lock()
	jobs := op.flags.Settings.Jobs
	op.reloading.Unlock()
	store, now := job.Store(op.dir.Path("jobs")), time.Now()
	for _, j := range jobs {
		s, _ := store.Load(j.Name)
		states = append(states, metrics.Job{Name: j.Name, Well: s.Well, Failed: s.Failed,
			Late: s.Since > 0 && j.Late(s, now) && !store.Runs(j.Name)})
	}
	return states
}
