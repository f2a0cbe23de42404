// SPDX-License-Identifier: Apache-2.0

package job

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/job"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Run carries out a command line of bkp, and returns its exit code.
type Run func(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) int

// runner runs jobs: each is a few command lines of bkp.
type runner struct {
	*command.Call
	run Run
}

// jobResult is what a run of a job came to.
type jobResult struct {
	Job       string     `json:"job"`
	Name      string     `json:"name"`
	Version   int        `json:"version"`
	Bytes     core.Size  `json:"bytes"`
	Unchanged bool       `json:"unchanged,omitempty"`
	Seconds   float64    `json:"seconds"`
	Drill     *job.Drill `json:"drill,omitempty"`
}

// showJob lists the commands of a job.
func showJob(c *command.Call, j job.Job) error {
	var lines []string
	for _, words := range [][]string{j.BackupLine(), j.PruneLine(), j.VerifyLine(0)} {
		if words != nil {
			lines = append(lines, "bkp "+strings.ReplaceAll(strings.Join(words, " "), "@0", "@latest"))
		}
	}
	if j.Drill != 0 {
		lines = append(lines, "bkp fetch "+j.As+"@latest --output …  # and compare")
	}
	return c.Result(struct {
		Job      string   `json:"job"`
		Commands []string `json:"commands"`
	}{j.Name, lines}, func(t *render.Table) {
		for _, l := range lines {
			t.Line("%s", l)
		}
	})
}

// runJob carries a job out, and writes down and tells what became of it.
func (c runner) runJob(ctx context.Context, j job.Job) error {
	release, err := jobs(c.Call).Lock(j.Name)
	if err != nil {
		return err
	}
	defer release()
	s, err := jobs(c.Call).Load(j.Name)
	if err != nil {
		return err
	}
	began := time.Now()
	s.Began = began.Unix()
	if s.Since == 0 {
		s.Since = s.Began
	}
	if err := jobs(c.Call).Save(j.Name, s); err != nil {
		return err
	}
	ping(ctx, c.Call, j, job.PingStart, "")
	r := jobResult{Job: j.Name, Name: j.As}
	err = c.jobSteps(ctx, j, s, &r)
	ended := time.Now()
	r.Seconds = ended.Sub(began).Seconds()
	s.Ended, s.Code, s.Problem = max(ended.Unix(), s.Began), int(core.CodeOf(err)), ""
	if r.Drill != nil {
		s.Drill = r.Drill
	}
	if err == nil {
		s.Well, s.Failed, s.Version, s.Bytes = s.Ended, 0, r.Version, int64(r.Bytes)
	} else {
		s.Failed++
		s.Problem = err.Error()
	}
	if saved := jobs(c.Call).Save(j.Name, s); err == nil {
		err = saved
	}
	telling := context.WithoutCancel(ctx) // also that it was stopped
	if err != nil {
		ping(telling, c.Call, j, job.PingFail, err.Error())
		return err
	}
	ping(telling, c.Call, j, job.PingSuccess, "")
	return c.Done(r, func(t *render.Table) {
		t.Line("Job %s: %s, %s in %.1f s", j.Name, render.Versioned(r.Name, r.Version), r.Bytes, r.Seconds)
		if r.Drill != nil {
			t.Line("Drill: %s", drillWords(r.Name, *r.Drill))
		}
	})
}

func ping(ctx context.Context, c *command.Call, j job.Job, what, text string) {
	if err := j.Ping(ctx, what, text); err != nil {
		c.Say("warning: %v", err)
	}
}

// jobSteps gives the commands of a job, one after the other.
func (c runner) jobSteps(ctx context.Context, j job.Job, s job.State, r *jobResult) error {
	before, _ := os.Stat(j.Path) // whether it stays as it is tells later whether the drill can look at it
	var made control.BackupResult
	if err := c.give(ctx, j.BackupLine(), &made); err != nil {
		return err
	}
	r.Version, r.Bytes, r.Unchanged = made.Version, made.Bytes, made.Unchanged
	for _, words := range [][]string{j.PruneLine(), j.VerifyLine(r.Version)} {
		if words == nil {
			continue
		}
		if err := c.give(ctx, words, nil); err != nil {
			return fmt.Errorf("%s is there, but: %w", render.Versioned(r.Name, r.Version), err)
		}
	}
	if !j.DrillDue(s, time.Now()) || r.Bytes == 0 {
		return nil
	}
	drill, err := c.drill(ctx, j, *r, before)
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	r.Drill = &drill
	return nil
}

// give carries out a command line of bkp on this data directory, as if a person had typed it, and reads its summary.
func (c runner) give(ctx context.Context, words []string, summary any) error {
	out := &told{status: c.Status}
	argv := append([]string{"bkp", words[0], "--json", "--data=" + string(c.Dir)}, words[1:]...)
	if _, err := os.Stat(c.Settings.Path); err == nil {
		argv = append(argv[:4:4], append([]string{"--config=" + c.Settings.Path}, words[1:]...)...)
	}
	code := c.run(ctx, argv, strings.NewReader(""), out, c.Stderr)
	if code != int(core.CodeOK) {
		var failed struct {
			Message string `json:"message"`
			Hint    string `json:"hint"`
		}
		_ = json.Unmarshal(out.last, &failed)
		if !strings.HasPrefix(failed.Message, words[0]) {
			failed.Message = words[0] + ": " + failed.Message
		}
		err := core.Fail(core.Code(code), "%s", failed.Message)
		if failed.Hint != "" {
			err = core.WithHint(err, "%s", failed.Hint)
		}
		return err
	}
	if summary == nil {
		return nil
	}
	if err := json.Unmarshal(out.last, summary); err != nil {
		return fmt.Errorf("%s: read its summary: %w", words[0], err)
	}
	return nil
}

// told reads the JSON lines of a command: progress is passed on, and the last line kept.
type told struct {
	status func(control.Status)
	part   []byte
	last   []byte
}

func (t *told) Write(text []byte) (int, error) {
	t.part = append(t.part, text...)
	for {
		line, rest, ended := bytes.Cut(t.part, []byte("\n"))
		if !ended {
			return len(text), nil
		}
		t.last, t.part = bytes.Clone(line), rest
		var s struct {
			Kind string `json:"message_type"`
			control.Status
		}
		if json.Unmarshal(line, &s) == nil && s.Kind == "status" {
			t.status(s.Status)
		}
	}
}
