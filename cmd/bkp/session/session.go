// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// session is the node that carries out a command: the one that runs on this data directory, or one in this process
// for as long as the command runs.
type session struct {
	control.Caller
	close func() error
}

// Opener finds or starts the node that carries out a command.
type Opener struct {
	flags    *line.Flags
	console  *render.Console
	dir      datadir.Dir
	identity func() (*key.Owner, error) // opens the identity whenever a node asks for it; nil without one

	Alone     bool // the command has something to do without any peer
	Reads     bool // the command changes nothing of the data directory
	reloading sync.Mutex
	reloaded  func() // is called with the lock, once the settings were read anew

	scratch datadir.Dir // where a node keeps what is its own while the data directory is only borrowed
}

// NewOpener opens sessions for a command.
func NewOpener(flags *line.Flags, con *render.Console, dir datadir.Dir, identity func() (*key.Owner, error)) *Opener {
	return &Opener{flags: flags, console: con, dir: dir, identity: identity}
}

// With calls do with a node of this data directory.
func (op *Opener) With(ctx context.Context, do func(n control.Caller) error) error {
	s, err := op.openSession(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(s.Caller), s.close())
}

// Keep calls do with the node that runs on the data directory, or with one that keeps for others as that would, and
// does not listen.
func (op *Opener) Keep(ctx context.Context, do func(n control.Caller) error) error {
	if remote, err := control.Dial(op.dir.Path("node.sock")); err == nil {
		op.warnUnused()
		return do(remote)
	}
	if err := op.dir.Make(); err != nil {
		return err
	}
	lock, err := op.dir.LockNode()
	if err != nil {
		return err
	}
	n, closers, err := op.start(ctx, wish{})
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	return errors.Join(do(control.Direct(n)), n.Close(), closers.Close(), lock.Close())
}

// Ask carries out one command on a node and shows its progress.
func Ask[Result any](ctx context.Context, op *Opener, command string, args any) (result Result, err error) {
	err = op.With(ctx, func(n control.Caller) error {
		return n.Call(ctx, command, args, &result, op.console.Status)
	})
	return result, err
}

// AskRunning carries out one command on the node that runs on the data directory, and fails without one.
func AskRunning[Result any](ctx context.Context, op *Opener, command string, args any) (result Result, err error) {
	n, err := op.Running()
	if err != nil {
		return result, err
	}
	return result, n.Call(ctx, command, args, &result, op.console.Status)
}

// openSession finds the running node, or takes node.lock and becomes one.
func (op *Opener) openSession(ctx context.Context) (session, error) {
	if !op.Reads || !op.dir.IsForeign() {
		if err := op.dir.Make(); err != nil {
			return session{}, err
		}
	}
	// A node that starts or stops at this moment holds the lock without a socket: look a few times.
	for tries := 0; ; tries++ {
		if remote, err := control.Dial(op.dir.Path("node.sock")); err == nil {
			op.warnUnused()
			return session{Caller: remote, close: func() error { return nil }}, nil
		}
		if op.Reads && op.dir.IsForeign() {
			return op.borrow(ctx)
		}
		lock, err := op.dir.LockNode()
		if err == nil {
			var s session
			if s, err = op.become(ctx, lock); err == nil {
				return s, nil
			}
		}
		if op.Reads && datadir.Unwritable(err) {
			return op.borrow(ctx)
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

// Running finds the node that runs on this data directory, and fails without one.
func (op *Opener) Running() (control.Caller, error) {
	remote, err := control.Dial(op.dir.Path("node.sock"))
	if err != nil {
		return nil, core.WithHint(core.Fail(core.CodeFailed, "no node runs on %s", string(op.dir)),
			"bkp node start --data %s", string(op.dir))
	}
	return remote, nil
}

// warnUnused tells that the running node keeps to what it was started with.
func (op *Opener) warnUnused() {
	for _, flag := range []string{"peers", "token-file", "insecure-plaintext", "trace"} {
		if op.flags.Given(flag) {
			op.console.Say("warning: --%s is not used: the node that runs on this data directory was started with "+
				"its own", flag)
		}
	}
}

// become starts a node in this process, and waits a moment for its peers.
func (op *Opener) become(ctx context.Context, lock *durable.Lock) (session, error) {
	n, closers, err := op.start(ctx, wish{transient: true})
	if err != nil {
		return session{}, errors.Join(err, lock.Close())
	}
	return session{Caller: control.Direct(n), close: func() error {
		return errors.Join(n.Close(), closers.Close(), lock.Close())
	}}, nil
}
