// SPDX-License-Identifier: Apache-2.0

// Package job is what a node does by the clock: backups that stand in config.toml, when each is due, and what became of
// it. A job is made of commands that a person could give; cmd/bkp carries them out.
package job

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/bkp-tool/bkp/core"
)

// Job is one table [job.NAME] of config.toml.
type Job struct {
	Name    string // of the table
	Path    string // of the file or device that is backed up; "" where a command writes it
	Command string // a line of sh
	As      string // the name of its versions
	When    string // a line of cron
	Backup  []string
	Prune   []string // flags; none: nothing is pruned
	Verify  []string // flags; nil: nothing is verified
	// of the newest version that is fetched again and compared, once in DrillEvery; 0: nothing, All: the whole
	Drill      core.Size
	DrillEvery time.Duration
	URL        string // is told of start, success and failure, as healthchecks.io takes it

	schedule cron.Schedule
}

// All is a drill that fetches everything.
const All core.Size = -1

const defaultDrillEvery = 7 * 24 * time.Hour

var nameRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// Command is one of those that jobs are made of, as a parser of settings needs it.
type Command interface {
	// Flag reports whether the command has a flag of that name that a job may set.
	Flag(name string) bool
}

// Parse reads [job]: NAME to its table. What is not a key of jobs is a flag of backup, or, where it begins with keep-,
// of prune.
func Parse(table any, backup, prune Command) (jobs []Job, err error) {
	const form = "write it as [job.NAME] with file, device or command, and when"
	tables, ok := table.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s", form)
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		keys, ok := tables[name].(map[string]any)
		if !ok || !nameRule.MatchString(name) {
			return nil, fmt.Errorf("%s: %s", name, form)
		}
		j := Job{Name: name, DrillEvery: defaultDrillEvery}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if err := j.set(key, keys[key], backup, prune); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		if err := j.complete(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// set takes one key.
func (j *Job) set(key string, value any, backup, prune Command) (err error) {
	text := fmt.Sprint(value)
	switch key {
	case "file", "device":
		if j.Path != "" {
			return fmt.Errorf("file and device: one of them")
		}
		if j.Path = text; !filepath.IsAbs(text) {
			return fmt.Errorf("%s = %q: want a path from the root on", key, text)
		}
	case "command":
		j.Command = text
	case "name":
		j.As = text
	case "when":
		j.When = text
		if j.schedule, err = cron.ParseStandard(text); err != nil {
			return fmt.Errorf("when = %q: want a line of cron, as \"30 2 * * *\" or \"@daily\": %w", text, err)
		}
	case "verify":
		return j.setVerify(value)
	case "drill":
		if text == "all" {
			j.Drill = All
		} else if j.Drill, err = core.ParseSize(text); err != nil || j.Drill <= 0 {
			return fmt.Errorf("drill = %s: want a size such as \"100MiB\", or \"all\"", text)
		}
	case "drill-every":
		if j.DrillEvery, err = days(text); err != nil {
			return fmt.Errorf("drill-every: %w", err)
		}
	case "url":
		if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("url: want https://HOST/PATH")
		}
		j.URL = strings.TrimSuffix(text, "/")
	default:
		flag := "--" + key + "=" + text
		switch {
		case strings.HasPrefix(key, "keep-") && prune.Flag(key):
			j.Prune = append(j.Prune, flag)
		case backup.Flag(key):
			j.Backup = append(j.Backup, flag)
		default:
			return fmt.Errorf("unknown key %q (file, device, command, name, when, verify, drill, drill-every, url, and the "+
				"flags of bkp backup and bkp prune)", key)
		}
	}
	return nil
}

func (j *Job) setVerify(value any) error {
	switch share, _ := strconv.ParseFloat(strings.TrimSuffix(fmt.Sprint(value), "%"), 64); {
	case value == false:
	case value == true:
		j.Verify = []string{"--remote"}
	case value == "full":
		j.Verify = []string{"--remote", "--full"}
	case share > 0 && share <= 100 && strings.HasSuffix(fmt.Sprint(value), "%"):
		j.Verify = []string{"--remote", "--sample=" + fmt.Sprint(value)}
	default:
		return fmt.Errorf("verify = %v: want true, a share such as \"5%%\", or \"full\"", value)
	}
	return nil
}

// complete checks that nothing is missing.
func (j *Job) complete() error {
	switch {
	case j.Path == "" && j.Command == "":
		return fmt.Errorf("what is to be backed up: file, device or command")
	case j.Path != "" && j.Command != "":
		return fmt.Errorf("a file or a command, not both")
	case j.Command != "" && j.As == "":
		return fmt.Errorf("name is missing: what a command writes has none of its own")
	case j.schedule == nil:
		return fmt.Errorf("when is missing: a line of cron, as \"30 2 * * *\" or \"@daily\"")
	}
	if j.As == "" {
		j.As = filepath.Base(j.Path)
	}
	return nil
}

// days reads a span of time of which the unit may be d.
func days(text string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a time span (write 7d or 36h)", text)
	}
	return d, nil
}

// BackupLine is the command that makes a version.
func (j Job) BackupLine() []string {
	line := append([]string{"backup"}, j.Backup...)
	line = append(line, "--name="+j.As)
	if j.Command != "" {
		return append(line, "--command="+j.Command)
	}
	return append(line, "--", j.Path)
}

// PruneLine is the command that lets old versions go; nil where none shall.
func (j Job) PruneLine() []string {
	if len(j.Prune) == 0 {
		return nil
	}
	return append(append([]string{"prune"}, j.Prune...), "--", j.As)
}

// VerifyLine is the command that asks whether a version is there; nil where none shall.
func (j Job) VerifyLine(version int) []string {
	if j.Verify == nil {
		return nil
	}
	return append(append([]string{"verify"}, j.Verify...), "--", fmt.Sprintf("%s@%d", j.As, version))
}

// What is what the job backs up, for people.
func (j Job) What() string {
	if j.Command != "" {
		return j.Command
	}
	return j.Path
}
