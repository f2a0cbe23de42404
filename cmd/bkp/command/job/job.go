// SPDX-License-Identifier: Apache-2.0

// Package job is bkp job: the jobs of config.toml looked at, and run.
package job

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/job"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/urfave/cli/v2"
)

// Command is bkp job; run carries out the command lines that a job is made of.
func Command(run Run) *cli.Command {
	return command.Group("job", "look at the jobs of config.toml, which the node runs by the clock, and run one now",
		listCommand(), runCommand(run), statusCommand())
}

// jobRow is a job and what became of it.
type jobRow struct {
	Job     string `json:"job"`
	What    string `json:"what"`
	Name    string `json:"name"`
	When    string `json:"when"`
	Running bool   `json:"running"`
	Late    bool   `json:"late"`
	Next    int64  `json:"next"` // Unix seconds
	job.State
}

func (r jobRow) bad() bool { return r.Late || r.Failed > 0 }

// result is how it is with the job, in words.
func (r jobRow) result() string {
	switch {
	case r.Running:
		return "running"
	case r.Late:
		return "late"
	case r.Failed > 0 || r.Began > r.Ended:
		return "failed"
	case r.Well == 0:
		return "not run yet"
	}
	return "well"
}

func rowOf(c *command.Call, j job.Job, now time.Time) (r jobRow, err error) {
	r = jobRow{Job: j.Name, What: j.What(), Name: j.As, When: j.When, Running: jobs(c).Runs(j.Name)}
	if r.State, err = jobs(c).Load(j.Name); err != nil {
		return r, err
	}
	if r.Since == 0 {
		r.Since = now.Unix() // no node has seen it yet
	}
	if r.Running {
		r.Ended, r.Failed = max(r.Ended, r.Began), 0 // how this run ends is not known yet
	}
	r.Next, r.Late = j.Next(r.State).Unix(), j.Late(r.State, now) && !r.Running
	return r, nil
}

func jobs(c *command.Call) job.Store { return job.Store(c.Dir.Path("jobs")) }

// jobNamed is one of config.toml.
func jobNamed(c *command.Call, name string) (job.Job, error) {
	i := slices.IndexFunc(c.Settings.Jobs, func(j job.Job) bool { return j.Name == name })
	if i < 0 {
		return job.Job{}, core.WithHint(core.Fail(core.CodeNoName, "no job %q stands in %s", name, c.Settings.Path),
			"bkp job list shows those that do")
	}
	return c.Settings.Jobs[i], nil
}

type jobsSummary struct {
	Jobs   int `json:"jobs"`
	Failed int `json:"failed"` // or late
}

// jobRows is all jobs, or the one of that name, with a summary.
func jobRows(c *command.Call, name string) (rows []jobRow, sum jobsSummary, err error) {
	jobs := c.Settings.Jobs
	if name != "" {
		j, err := jobNamed(c, name)
		if err != nil {
			return nil, sum, err
		}
		jobs = []job.Job{j}
	}
	now := time.Now()
	for _, j := range jobs {
		r, err := rowOf(c, j, now)
		if err != nil {
			return nil, sum, err
		}
		if rows = append(rows, r); r.bad() {
			sum.Failed++
		}
	}
	sum.Jobs = len(rows)
	return rows, sum, nil
}

func listCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "list", Usage: "list the jobs, when they ran last and when they run next",
		About: "A job stands in config.toml: [job.NAME] with file, device or command; when, a line of cron; name, where the " +
			"versions shall have another; any flag of bkp backup; keep-last and its like, of bkp prune; verify = " +
			"true, a share as \"5%\", or \"full\"; drill = \"100MiB\" or \"all\", which is fetched again and " +
			"compared, once in drill-every; url, which is told of start, success and failure.",
		Examples: "bkp job list\nbkp job list --json",
		Do: func(_ context.Context, c *command.Call) error {
			rows, sum, err := jobRows(c, "")
			if err != nil {
				return err
			}
			return render.List(c.Console, rows, sum, func(t *render.Table) {
				if len(rows) == 0 {
					t.Line("no jobs: write [job.NAME] into %s; bkp job list --help says how", c.Settings.Path)
					return
				}
				drawJobs(t, rows)
			})
		},
	})
}

func drawJobs(t *render.Table, rows []jobRow) {
	t.Header("job", "when", "last", "result", "next", "what")
	t.Below("what")
	for _, r := range rows {
		t.Row(r.Job, r.When, render.Moment(r.Began), r.result(), render.Moment(r.Next), r.What)
	}
}

func statusCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "status", Args: "[JOB]", Most: 1,
		Usage:    "show how it is with the jobs; ends with 3 where one failed or is late",
		Examples: "bkp job status\nbkp job status nightly --json",
		Do: func(_ context.Context, c *command.Call) error {
			rows, sum, err := jobRows(c, c.Args().First())
			if err != nil {
				return err
			}
			err = render.List(c.Console, rows, sum, func(t *render.Table) {
				for _, r := range rows {
					drawJob(t, r)
				}
			})
			if err == nil && sum.Failed > 0 {
				err = core.WithHint(core.Fail(core.CodePartial, "%d of %s failed or late", sum.Failed,
					render.Counted(sum.Jobs, "job")), "bkp job run JOB tries one now")
			}
			return err
		},
	})
}

func drawJob(t *render.Table, r jobRow) {
	t.Line("%s: %s", r.Job, r.result())
	t.Line("  what    %s, as %s", r.What, r.Name)
	t.Line("  when    %s; next %s", r.When, at(r.Next))
	switch {
	case r.Running:
		t.Line("  began   %s", at(r.Began))
	case r.Ended >= r.Began && r.Began > 0:
		t.Line("  last    %s, took %s", at(r.Began), time.Duration(r.Ended-r.Began)*time.Second)
	}
	if r.Well > 0 {
		t.Line("  well    %s: %s, %s", at(r.Well), render.Versioned(r.Name, r.Version), core.Size(r.Bytes))
	}
	if r.Problem != "" && !r.Running {
		t.Line("  problem %s", r.Problem)
	}
	if d := r.Drill; d != nil {
		t.Line("  drill   %s: %s", at(d.Time), drillWords(r.Name, *d))
	}
}

// drillWords tells what a drill came to.
func drillWords(name string, d job.Drill) string {
	against := "as its manifest says"
	if d.Source {
		against = "byte for byte as the file"
	}
	return fmt.Sprintf("%s of %s came back from %s in %.1f s, %s", core.Size(d.Bytes),
		render.Versioned(name, d.Version), render.Counted(d.Nodes, "node"), d.Seconds, against)
}

func runCommand(run Run) *cli.Command {
	return command.New(command.Spec{
		Name: "run", Args: "JOB", Least: 1, Most: 1,
		Usage: "run a job now",
		About: "Does what the node does when the job is due: bkp backup, and where the job says so bkp prune, bkp verify and " +
			"a drill, which fetches a part of the version, or all of it, below TMPDIR, compares it, and removes it.",
		Examples: "bkp job run nightly\nbkp job run nightly --dry-run",
		Flags:    []cli.Flag{line.Bool("dry-run", "only show the commands of which the job is made")},
		Do: func(ctx context.Context, c *command.Call) error {
			j, err := jobNamed(c, c.Args().First())
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				return showJob(c, j)
			}
			return runner{c, run}.runJob(ctx, j)
		},
	})
}

// at is a time as people read it; - is never.
func at(unix int64) string { return render.Cell(render.Moment(unix)) }
