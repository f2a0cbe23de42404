package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxLocalLine bounds one line on the local socket: a result may list thousands of files.
const maxLocalLine = 64 << 20

// ServeLocal answers commands of this machine's own user on l until the node closes. One call a connection.
func (n *Node) ServeLocal(l net.Listener) {
	calls := &localCalls{Node: n}
	n.act(func() { <-n.ctx.Done(); l.Close() })
	n.act(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.act(func() { calls.serve(conn) })
		}
	})
}

// localCalls is the calls of this machine's own user.
type localCalls struct {
	*Node
	streams streams
}

// serve carries out one call, or keeps a stream for one.
func (n *localCalls) serve(conn net.Conn) {
	lines := bufio.NewReaderSize(conn, 64<<10)
	line, err := readLine(lines)
	if err != nil {
		conn.Close()
		return
	}
	write := localWriter(conn)
	m, err := wire.DecodeLocal(line)
	switch m := m.(type) {
	case wire.LocalStream:
		if err = n.streams.keep(m.Stream, conn); err == nil {
			write(wire.LocalResult{})
			return
		}
	case wire.LocalCall:
		n.carryOut(conn, lines, m, write)
	default:
		if err == nil {
			err = fmt.Errorf("got %s", m.Type())
		}
		err = core.Fail(core.CodeUsage, "local call: %w", err)
	}
	if err != nil {
		write(failed(nil, err))
	}
	conn.Close()
}

// localWriter writes messages to a command, from any goroutine. One that has gone is noticed by who reads.
func localWriter(conn net.Conn) func(wire.Message) {
	var writing sync.Mutex
	return func(m wire.Message) {
		writing.Lock()
		defer writing.Unlock()
		if raw, err := wire.Encode(m); err == nil {
			conn.Write(append(raw, '\n'))
		}
	}
}

func failed(result jsontext.Value, err error) wire.LocalResult {
	return wire.LocalResult{Result: result, Code: core.CodeOf(err), Error: err.Error(), Hint: core.HintOf(err)}
}

// carryOut does one call; the caller hanging up cancels it.
func (n *localCalls) carryOut(conn net.Conn, lines *bufio.Reader, call wire.LocalCall, write func(wire.Message)) {
	ctx, cancel := context.WithCancelCause(n.ctx)
	defer cancel(nil)
	stop := context.AfterFunc(n.ctx, func() { conn.Close() })
	defer stop()
	n.act(func() {
		_, err := lines.ReadByte() // nothing follows a call but the end
		cancel(fmt.Errorf("the caller went away: %w", err))
	})
	var s stream
	finish := func() error { return nil }
	if call.Stream != "" {
		carrier := n.streams.take(call.Stream)
		if carrier == nil {
			write(failed(nil, core.Fail(core.CodeUsage, "local call: there is no stream of that name")))
			return
		}
		defer carrier.Close()
		defer context.AfterFunc(ctx, func() { carrier.Close() })()
		s, finish = attached(carrier)
	}
	result, err := n.answer(ctx, call, s, func(s control.Status) {
		if raw, err := json.Marshal(s); err == nil {
			write(wire.LocalStatus{Status: raw})
		}
	})
	if err == nil || core.CodeOf(err) == core.CodePartial {
		err = errors.Join(err, finish())
	}
	if err != nil {
		write(failed(result, err))
		return
	}
	write(wire.LocalResult{Result: result})
}

func (n *localCalls) answer(ctx context.Context, call wire.LocalCall, s stream,
	status func(control.Status)) (jsontext.Value, error) {
	do, ok := commands[call.Command]
	if !ok {
		return nil, core.Fail(core.CodeUsage, "the running node knows no command %q", call.Command)
	}
	result, err := do(n.Node, ctx, call.Args, s, status)
	raw, encodeErr := json.Marshal(result)
	return raw, errors.Join(err, encodeErr)
}

// command decodes its arguments, does its work and returns its result; a result may accompany an error.
type command func(n *Node, ctx context.Context, args jsontext.Value, s stream, status func(control.Status)) (any, error)

var commands = map[string]command{
	control.CommandPlace:  on((*Node).Place),
	control.CommandFetch:  on((*Node).Fetch),
	control.CommandPeers:  on((*Node).ListPeers),
	control.CommandRemove: on((*Node).Remove),
	control.CommandGC:     on((*Node).CollectPlaced),
	control.CommandStatus: on((*Node).Status),
	control.CommandFiles:  on((*Node).Files),
	control.CommandList:   on((*Node).ListVersions),
	control.CommandVerify: on((*Node).Verify),
	control.CommandLimit:  on((*Node).Limit),
	control.CommandProbe:  on((*Node).Probe),
	control.CommandBackup: on((*Node).Backup),
	control.CommandSurvey: on((*Node).Survey),

	control.CommandRecords: on((*Node).LookAtRecords),
}

func on[Args, Result any](do func(*Node, context.Context, Args, func(control.Status)) (Result, error)) command {
	return func(n *Node, ctx context.Context, raw jsontext.Value, s stream, status func(control.Status)) (any, error) {
		var args Args
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &args, json.RejectUnknownMembers(true)); err != nil {
				return nil, core.Fail(core.CodeUsage, "arguments: %w", err)
			}
		}
		attach(&args, s)
		return do(n, ctx, args, status)
	}
}

// Call carries out a command in this process; it is the same path as through the socket.
func (n *Node) Call(ctx context.Context, name string, args, result any, status func(control.Status)) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	do, ok := commands[name]
	if !ok {
		return core.Fail(core.CodeUsage, "no command %q", name)
	}
	got, callErr := do(n, ctx, raw, streamOf(args), status)
	if raw, err = json.Marshal(got); err == nil {
		err = json.Unmarshal(raw, result)
	}
	if callErr != nil {
		return callErr
	}
	return err
}

// Remote is a running node reached through its local socket.
type Remote struct{ socket string }

// DialLocal finds the node that serves socket; the error wraps what the system said where none does.
func DialLocal(socket string) (*Remote, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("no running node: %w", err)
	}
	return &Remote{socket}, conn.Close()
}

// Call sends the command to the running node; cancelling ctx hangs up, which cancels it there.
func (r *Remote) Call(ctx context.Context, name string, args, result any, status func(control.Status)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	call := wire.LocalCall{Command: name}
	var carrier *remoteStream
	if s := streamOf(args); s.in != nil || s.out != nil {
		var err error
		if carrier, err = r.openStream(s, cancel); err != nil {
			return err
		}
		defer carrier.Close()
		call.Stream = carrier.name
	}
	conn, err := net.Dial("unix", r.socket)
	if err != nil {
		return core.WithHint(fmt.Errorf("reach the running node: %w", err),
			"see whether it still runs: bkp node status")
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if call.Args, err = json.Marshal(args); err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	raw, err := wire.Encode(call)
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("ask the running node: %w", err)
	}
	for lines := bufio.NewReaderSize(conn, 64<<10); ; {
		line, err := readLine(lines)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return core.WithHint(fmt.Errorf("the running node hung up: %w", err),
				"see its log; what was done so far is kept")
		}
		m, err := wire.DecodeLocal(line)
		if err != nil {
			return fmt.Errorf("the running node's answer: %w", err)
		}
		switch m := m.(type) {
		case wire.LocalStatus:
			var s control.Status
			if json.Unmarshal(m.Status, &s) == nil && status != nil {
				status(s)
			}
		case wire.LocalResult:
			err := take(m, result)
			if err == nil || m.Code == core.CodePartial {
				err = errors.Join(err, carrier.finish(ctx))
			}
			return err
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		case len(line) > maxLocalLine:
			return nil, fmt.Errorf("line over %d bytes", maxLocalLine)
		}
	}
}

// take decodes a result and turns its error back into one.
func take(m wire.LocalResult, result any) error {
	if len(m.Result) > 0 {
		if err := json.Unmarshal(m.Result, result); err != nil && m.Code == core.CodeOK {
			return fmt.Errorf("the running node's result: %w", err)
		}
	}
	if m.Code == core.CodeOK {
		return nil
	}
	err := core.Fail(m.Code, "%s", m.Error)
	if m.Hint != "" {
		err = core.WithHint(err, "%s", m.Hint)
	}
	return err
}
