// SPDX-License-Identifier: Apache-2.0

package job

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// lookEvery is how often the clock on the wall is looked at: it may be set, and a machine may have slept.
const lookEvery = time.Minute

// Clock runs jobs when they are due.
type Clock struct {
	Store Store
	Start func(ctx context.Context, name string) error // carries a job out, and has Store say what became of it
	Tell  func(core.Event)                             // is told of a job that failed, once until it ends well again
	Log   *slog.Logger

	mu      sync.Mutex
	jobs    []Job
	changed chan struct{}
	running map[string]bool
	acts    sync.WaitGroup
}

// NewClock makes a clock without jobs.
func NewClock(store Store, start func(context.Context, string) error, tell func(core.Event), log *slog.Logger) *Clock {
	return &Clock{Store: store, Start: start, Tell: tell, Log: log, changed: make(chan struct{}, 1), running: map[string]bool{}}
}

// Set says which jobs there are from now on. One that runs and is no more among them runs on.
func (c *Clock) Set(jobs []Job) {
	c.mu.Lock()
	c.jobs = jobs
	c.mu.Unlock()
	c.wake()
}

func (c *Clock) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// Run starts what is due until ctx ends, and waits then for what runs. Jobs run side by side, but none beside itself.
func (c *Clock) Run(ctx context.Context) {
	defer c.acts.Wait()
	for ctx.Err() == nil {
		timer := time.NewTimer(c.look(ctx, time.Now()))
		select {
		case <-ctx.Done():
		case <-c.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look starts what is due, and says how long nothing is.
func (c *Clock) look(ctx context.Context, now time.Time) (wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = lookEvery
	for _, j := range c.jobs {
		if c.running[j.Name] {
			continue
		}
		s, err := c.Store.Load(j.Name)
		if err == nil && s.Since == 0 {
			s.Since = now.Unix()
			err = c.Store.Save(j.Name, s)
		}
		if err != nil {
			c.Log.Error("job", "name", j.Name, "error", err)
			continue
		}
		if next := j.Next(s); next.After(now) {
			wait = min(wait, next.Sub(now))
			continue
		}
		c.running[j.Name] = true
		c.acts.Go(func() { c.carryOut(ctx, j.Name) })
	}
	return wait
}

// carryOut runs a job and tells what became of it.
func (c *Clock) carryOut(ctx context.Context, name string) {
	c.Log.Info("job begins", "name", name)
	began := time.Now()
	started := c.Start(ctx, name)
	s, err := c.Store.Load(name)
	cutOff := s.Began < began.Unix() || s.Ended < s.Began // it did not come to say what became of it
	if cutOff && started != nil && ctx.Err() == nil && core.CodeOf(started) != core.CodeBusy {
		s.Began, s.Ended = began.Unix(), time.Now().Unix()
		s.Failed, s.Code, s.Problem = s.Failed+1, int(core.CodeOf(started)), started.Error()
		err = c.Store.Save(name, s)
	}
	switch {
	case err != nil:
		c.Log.Error("job", "name", name, "error", err)
	case ctx.Err() != nil:
	case s.Failed > 0:
		c.Log.Error("job failed", "name", name, "error", s.Problem)
		if s.Failed == 1 && c.Tell != nil {
			c.Tell(core.Event{What: core.EventJobFailed, Time: time.Now().Unix(), Subject: name,
				Text: fmt.Sprintf("job %s failed: %s", name, s.Problem)})
		}
	default:
		c.Log.Info("job done", "name", name, "version", s.Version, "seconds", time.Since(began).Seconds())
	}
	c.mu.Lock()
	delete(c.running, name)
	c.mu.Unlock()
	c.wake()
}
