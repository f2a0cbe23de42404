package main

import (
	"context"
	"errors"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
)

// session is the node that carries out a command: the one that runs on this data directory, or one in this process
// for as long as the command runs.
type session struct {
	control.Caller
	running bool // the node runs in another process
	close   func() error
}

// withNode calls do with a node of this data directory.
func (c *call) withNode(ctx context.Context, do func(s session) error) error {
	s, err := c.openSession(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.close())
}

// ask carries out one command on a node and shows its progress.
func ask[Result any](ctx context.Context, c *call, command string, args any) (result Result, err error) {
	err = c.withNode(ctx, func(s session) error {
		return s.Call(ctx, command, args, &result, c.Status)
	})
	return result, err
}

// openSession finds the running node, or takes node.lock and becomes one.
func (c *call) openSession(ctx context.Context) (session, error) {
	if !c.reads || !c.dir.IsForeign() {
		if err := c.dir.Make(); err != nil {
			return session{}, err
		}
	}
	// A node that starts or stops at this moment holds the lock without a socket: look a few times.
	for tries := 0; ; tries++ {
		if remote, err := control.Dial(c.dir.Path("node.sock")); err == nil {
			c.warnUnused()
			return session{Caller: remote, running: true, close: func() error { return nil }}, nil
		}
		if c.reads && c.dir.IsForeign() {
			return c.borrow(ctx)
		}
		lock, err := c.dir.LockNode()
		if err == nil {
			var s session
			if s, err = c.become(ctx, lock); err == nil {
				return s, nil
			}
		}
		if c.reads && datadir.Unwritable(err) {
			return c.borrow(ctx)
		}
		if core.CodeOf(err) != core.CodeBusy || tries == 10 {
			return session{}, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return session{}, context.Cause(ctx)
		}
	}
}

// running finds the node that runs on this data directory, and fails without one.
func (c *call) runningNode() (control.Caller, error) {
	remote, err := control.Dial(c.dir.Path("node.sock"))
	if err != nil {
		return nil, core.WithHint(core.Fail(core.CodeFailed, "no node runs on %s", string(c.dir)),
			"bkp node start --data %s", string(c.dir))
	}
	return remote, nil
}

// warnUnused tells that the running node keeps to what it was started with.
func (c *call) warnUnused() {
	for _, flag := range []string{"peers", "token-file", "insecure-plaintext", "trace"} {
		if c.Given(flag) {
			c.Say("warning: --%s is not used: the node that runs on this data directory was started with its own", flag)
		}
	}
}

// become starts a node in this process, and waits a moment for its peers.
func (c *call) become(ctx context.Context, lock *durable.Lock) (session, error) {
	n, closers, err := c.startNode(ctx, nodeWish{transient: true})
	if err != nil {
		return session{}, errors.Join(err, lock.Close())
	}
	return session{Caller: control.Direct(n), close: func() error {
		return errors.Join(n.Close(), closers.Close(), lock.Close())
	}}, nil
}
