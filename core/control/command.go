// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/bkp-tool/bkp/core"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// command reads its arguments: an object with no member that is unknown or there twice.
type command interface {
	read(args jsontext.Value) (call, error)
}

// call is a command with its arguments, to be carried out once.
type call func(ctx context.Context, n Node, s stream, status func(Status)) (any, error)

// does is a command by the method of Node that it has done.
type does[Args, Result any] func(Node, context.Context, Args, func(Status)) (Result, error)

func (do does[Args, Result]) read(raw jsontext.Value) (call, error) {
	var args Args
	if kind := raw.Kind(); kind != '{' && len(raw) > 0 {
		return nil, core.Fail(core.CodeUsage, "arguments: want a JSON object, got %q", raw[:min(len(raw), 40)])
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &args, json.RejectUnknownMembers(true)); err != nil {
			return nil, badArgs(err)
		}
	}
	return func(ctx context.Context, n Node, s stream, status func(Status)) (any, error) {
		if err := s.attach(&args); err != nil {
			return nil, err
		}
		return do(n, ctx, args, status)
	}, nil
}

// badArgs is what is wrong with arguments, in the words of JSON.
func badArgs(err error) error {
	at, is := errors.AsType[*json.SemanticError](err)
	switch {
	case !is:
		return core.Fail(core.CodeUsage, "arguments: %w", err)
	case errors.Is(err, json.ErrUnknownName):
		return core.WithHint(core.Fail(core.CodeUsage, "arguments: %s is not known", at.JSONPointer), hintOtherRelease)
	case at.Err != nil:
		return core.Fail(core.CodeUsage, "arguments: %s: %w", at.JSONPointer, at.Err)
	}
	return core.Fail(core.CodeUsage, "arguments: %s cannot be a %s", at.JSONPointer, at.JSONKind)
}

// counts tells whether a result that comes with err does.
func counts(err error) bool { return err == nil || core.CodeOf(err) == core.CodePartial }

// commandOf finds a command.
func commandOf(name string) (command, error) {
	if c, ok := commands[name]; ok {
		return c, nil
	}
	return nil, core.WithHint(core.Fail(core.CodeUsage, "the node knows no command %q", name), hintOtherRelease)
}

// hintOtherRelease is the next step where the command line and the running node do not understand each other.
const hintOtherRelease = "if the node is of another release than the command, " +
	"stop it and start it again with the same program: bkp node start"

// Direct has commands carried out by a node in this process, by the same path as through the socket.
func Direct(n Node) Caller { return direct{n} }

type direct struct{ Node }

func (d direct) Call(ctx context.Context, name string, args, result any, status func(Status)) error {
	c, err := commandOf(name)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	carryOut, err := c.read(raw)
	if err != nil {
		return err
	}
	if status == nil {
		status = func(Status) {}
	}
	got, callErr := carryOut(ctx, d.Node, streamOf(args), status)
	if raw, err = json.Marshal(got); err == nil {
		err = json.Unmarshal(raw, result)
	}
	if callErr != nil {
		return callErr
	}
	return err
}

// stream is the bytes of a file that a command takes in, or gives out.
type stream struct {
	in  io.Reader
	out io.Writer
}

// streamOf is the stream that arguments come with.
func streamOf(args any) (s stream) {
	switch a := args.(type) {
	case FetchArgs:
		s.out = a.Out
	case BackupArgs:
		s.in = a.In
	}
	return s
}

// attach gives arguments that were decoded their stream.
func (s stream) attach(args any) error {
	switch a := args.(type) {
	case *FetchArgs:
		a.Out, s.out = s.out, nil
	case *BackupArgs:
		a.In, s.in = s.in, nil
	}
	switch {
	case s.in != nil:
		return core.Fail(core.CodeUsage, "the command takes no bytes in")
	case s.out != nil:
		return core.Fail(core.CodeUsage, "the command gives no bytes out")
	}
	return nil
}
