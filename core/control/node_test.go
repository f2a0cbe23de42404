// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode carries out some commands, each in its own way.
type fakeNode struct {
	Node    // nil: none but those below
	removed chan error
	fetched func(out io.Writer) error
	backed  func(in io.Reader) error
}

// Status answers at once.
func (fakeNode) Status(context.Context, None, func(Status)) (StatusResult, error) {
	return StatusResult{Listen: ":8001", Health: HealthReady, Ready: true, Peers: 2}, nil
}

// CollectPlaced tells how far it is, and leaves a part undone or fails.
func (fakeNode) CollectPlaced(_ context.Context, args GCArgs, status func(Status)) (GCResult, error) {
	status(Status{Phase: "records"})
	status(Status{Phase: "staging", Done: 7, Total: 9, Text: "a<b & c", Warning: true})
	switch args.Copies {
	case 1:
		return GCResult{StagingFreed: 7}, core.WithHint(core.Fail(core.CodePartial, "2 packs stay"), "try again")
	case 2:
		return GCResult{StagingFreed: 7}, core.WithHint(core.Fail(core.CodeWrong, "pack 3 is damaged"), "bkp verify")
	}
	return GCResult{StagingFreed: 9}, nil
}

// Remove lasts until it is cancelled.
func (n fakeNode) Remove(ctx context.Context, args RemoveArgs, status func(Status)) (RemoveResult, error) {
	status(Status{Phase: "release", Text: args.Name})
	<-ctx.Done()
	n.removed <- context.Cause(ctx)
	return RemoveResult{}, context.Cause(ctx)
}

func (n fakeNode) Fetch(_ context.Context, args FetchArgs, _ func(Status)) (FetchResult, error) {
	if args.Out == nil {
		return FetchResult{Name: args.Name, Output: args.Output}, nil
	}
	return FetchResult{Name: args.Name, Output: "-"}, n.fetched(args.Out)
}

func (n fakeNode) Backup(_ context.Context, args BackupArgs, _ func(Status)) (BackupResult, error) {
	if args.In == nil {
		return BackupResult{Name: args.Name}, errors.New("no input")
	}
	return BackupResult{Name: args.Name}, n.backed(args.In)
}

var errNodeStops = errors.New("the node is stopping")

// serve serves n at a socket until stop is called, which returns once all has ended.
func serve(t *testing.T, n Node) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "node.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	served := make(chan struct{})
	go func() { defer close(served); Serve(ctx, l, n) }()
	stop = func() { cancel(errNodeStops); <-served }
	t.Cleanup(stop)
	return socket, stop
}

// dialled is a client of a node that is served.
func dialled(t *testing.T, socket string) *Client {
	t.Helper()
	c, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDialFindsNoNode(t *testing.T) {
	_, err := Dial(filepath.Join(t.TempDir(), "node.sock"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
