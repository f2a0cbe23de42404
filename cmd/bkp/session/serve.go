// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
)

// StopError is what went wrong when a node ended as it was asked to: no consequence of that, which alone is its
// ordinary end.
type StopError struct{ error }

func (e StopError) Unwrap() error { return e.error }

// Serving is how a node is run.
type Serving struct {
	Listen string                        // HOST:PORT
	Ready  func(id core.ID, at net.Addr) // is called once it is up
	Hangup func()                        // is called at each HUP, before the settings are read anew
}

// Serve runs the node of the data directory until ctx ends or it fails.
func (op *Opener) Serve(ctx context.Context, how Serving) (err error) {
	if err := op.dir.Make(); err != nil {
		return err
	}
	lock, err := op.dir.LockNode()
	if err != nil {
		return err
	}
	defer lock.Close()
	listener, err := net.Listen("tcp", how.Listen)
	if err != nil {
		return core.WithHint(fmt.Errorf("listen: %w", err),
			"another program may listen there: take another with --listen HOST:PORT")
	}
	op.dir.Reserve().Fill()
	var n *commands.Node
	var closers datadir.Closers
	err = op.dir.Reserve().During(func() (err error) { // what is here can be freed by a node that runs
		n, closers, err = op.start(ctx, wish{listen: how.Listen, listener: listener})
		return err
	})
	if err != nil {
		err = errors.Join(err, listener.Close())
		if ctx.Err() != nil {
			return nil // it was stopped before it was up
		}
		return err
	}
	defer func() {
		if closing := errors.Join(n.Close(), closers.Close()); closing != nil {
			err = errors.Join(err, StopError{fmt.Errorf("stop the node: %w", closing)})
		}
	}()
	commands, err := listenLocal(op.dir.Path("node.sock"))
	if err != nil {
		return fmt.Errorf("open the socket for commands: %w", err)
	}
	n.Serve(commands)
	caller := control.Direct(n)
	endMetrics, err := op.serveMetrics(caller, op.flags.App.Version)
	if err != nil {
		return err
	}
	defer endMetrics()
	watching, unwatch := context.WithCancel(ctx)
	var guard sync.WaitGroup
	guard.Go(func() { watchdog(watching, caller) })
	defer func() { unwatch(); guard.Wait() }()
	defer op.startJobs(ctx, n)()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	how.Ready(n.ID(), listener.Addr())
	notify("READY=1")
	defer notify("STOPPING=1")
	for {
		select {
		case <-hangups:
			how.Hangup()
			op.reload(ctx, n)
		case <-ctx.Done():
			op.console.Say("stopping")
			return nil
		case err := <-n.Failed():
			return core.WithHint(fmt.Errorf("the node ends: %w", err),
				"what was acknowledged is on disk: start it again, and look at the disk where that fails too")
		}
	}
}

// listenLocal opens the socket for commands of this machine's own user. One that is there is that of a node that was
// killed: node.lock says that none runs.
func listenLocal(path string) (net.Listener, error) {
	_ = durable.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
