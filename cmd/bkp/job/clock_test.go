// SPDX-License-Identifier: Apache-2.0

package job

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// hall is a place where a clock's jobs run.
type hall struct {
	sync.Mutex
	store Store
	runs  []string // when each began: job, day and time
	told  []string
	takes time.Duration
	fails error
	dies  bool // a run ends without a word
}

func (h *hall) start(ctx context.Context, name string) error {
	now := time.Now().UTC()
	h.Lock()
	h.runs = append(h.runs, now.Format(name+" 2 15:04:05"))
	takes, fails, dies := h.takes, h.fails, h.dies
	h.Unlock()
	s, _ := h.store.Load(name)
	s.Began = now.Unix()
	if err := h.store.Save(name, s); err != nil {
		return err
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
	}
	if dies {
		return core.Fail(core.CodeFailed, "signal: killed")
	}
	s.Ended = time.Now().Unix()
	if s.Failed++; fails == nil {
		s.Failed = 0
	} else {
		s.Problem, s.Code = fails.Error(), int(core.CodeOf(fails))
	}
	return h.store.Save(name, s)
}

// play has a clock run a job of every hour, and one of every day at noon, from 2000-01-01 00:00 on.
func play(t *testing.T, test func(h *hall, c *Clock)) {
	jobs, err := parse(t, "[job.noon]\nfile = \"/f\"\nwhen = \"CRON_TZ=UTC 0 12 * * *\"\n"+
		"[job.hour]\nfile = \"/f\"\nwhen = \"CRON_TZ=UTC 0 * * * *\"")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := &hall{store: Store(dir), takes: time.Minute}
		c := NewClock(h.store, h.start, func(e core.Event) {
			h.Lock()
			defer h.Unlock()
			h.told = append(h.told, fmt.Sprint(e.What, " ", e.Subject, ": ", e.Text))
		}, slog.New(slog.DiscardHandler))
		c.Set(jobs)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		test(h, c)
		cancel()
		<-ended
	})
}

func (h *hall) want(t *testing.T, runs ...string) {
	t.Helper()
	synctest.Wait()
	h.Lock()
	defer h.Unlock()
	if !slices.Equal(h.runs, runs) {
		t.Errorf("ran %q, want %q", h.runs, runs)
	}
	h.runs = nil
}

func TestJobsRunWhenTheyAreDue(t *testing.T) {
	play(t, func(h *hall, c *Clock) {
		time.Sleep(2*time.Hour + time.Second)
		h.want(t, "hour 1 01:00:00", "hour 1 02:00:00")
		c.Set(c.jobs[1:]) // hour goes
		time.Sleep(10 * time.Hour)
		h.want(t, "noon 1 12:00:00")
	})
}

// A job that runs for long is not started beside itself; others are. What it missed is made up for once.
func TestOneOfAJobAtATime(t *testing.T) {
	play(t, func(h *hall, _ *Clock) {
		h.Lock()
		h.takes = 150 * time.Minute
		h.Unlock()
		time.Sleep(12*time.Hour + time.Second)
		h.want(t, "hour 1 01:00:00", "hour 1 03:30:00", "hour 1 06:00:00", "hour 1 08:30:00", "hour 1 11:00:00", "noon 1 12:00:00")
	})
}

func TestWhatWasMissedIsMadeUpForOnce(t *testing.T) {
	play(t, func(h *hall, c *Clock) {
		time.Sleep(time.Hour + 2*time.Minute)
		h.want(t, "hour 1 01:00:00")
		jobs := c.jobs
		c.Set(nil) // as if the node were down
		time.Sleep(10*time.Hour + 30*time.Minute)
		c.Set(jobs)
		time.Sleep(time.Minute)
		h.want(t, "hour 1 11:32:00")
	})
}

// A failure is told once until the job ends well again; one that ends without a word is a failure too, and no loop.
func TestFailuresAreTold(t *testing.T) {
	play(t, func(h *hall, c *Clock) {
		c.Set(c.jobs[:1]) // hour
		h.Lock()
		h.fails = core.Fail(core.CodeRedundant, "too few")
		h.Unlock()
		time.Sleep(time.Hour + 45*time.Minute)
		h.want(t, "hour 1 01:00:00", "hour 1 01:11:00", "hour 1 01:32:00")
		h.Lock()
		h.fails, h.dies = nil, true
		h.Unlock()
		time.Sleep(10 * time.Minute)
		h.want(t)
		time.Sleep(2 * time.Hour)
		s, err := h.store.Load("hour")
		if err != nil || s.Problem != "signal: killed" || s.Failed < 3 {
			t.Errorf("%+v, %v", s, err)
		}
		h.Lock()
		defer h.Unlock()
		if len(h.runs) > 10 {
			t.Errorf("ran %q", h.runs)
		}
		if len(h.told) != 1 || h.told[0] != "job-failed hour: job hour failed: too few" {
			t.Errorf("told %q", h.told)
		}
	})
}
