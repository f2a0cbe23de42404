// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/bkp-tool/bkp/core"
	"github.com/go-json-experiment/json"
)

// Client is a running node reached through its socket.
type Client struct{ socket string }

// Dial finds the node that serves socket; the error wraps what the system said where none does.
func Dial(socket string) (*Client, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("no running node: %w", err)
	}
	return &Client{socket}, conn.Close()
}

// Call has the running node carry out a command; cancelling ctx hangs up, which cancels it there. It returns the cause
// then.
func (c *Client) Call(ctx context.Context, name string, args, result any, status func(Status)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	raw, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	path, passedOn := "/v1/"+name, func() error { return nil }
	if s := streamOf(args); s != (stream{}) {
		id := rand.Text()
		path += "?stream=" + id
		passedOn = c.carry(ctx, cancel, "/v1/streams/"+id, s)
	}
	answer, err := c.do(ctx, http.MethodPost, path, bytes.NewReader(raw))
	if err == nil {
		err = readAnswer(answer.Body, result, status)
	}
	if counts(err) {
		err = errors.Join(err, passedOn())
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// do sends a request on a connection of its own, which ends with ctx, and returns what answers it.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, body)
	if err != nil {
		return nil, err
	}
	r.Close = true
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		return nil, core.WithHint(fmt.Errorf("reach the running node: %w", err),
			"see whether it still runs: bkp node status")
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	sent := r.Write(conn) // even where that fails, what the node said last may be there
	answers := bufio.NewReaderSize(conn, 64<<10)
	if first, err := answers.Peek(1); err != nil {
		return nil, hungUp(errors.Join(sent, err))
	} else if first[0] == '{' {
		return nil, errOlderNode
	}
	answer, err := http.ReadResponse(answers, r)
	if err != nil {
		return nil, fmt.Errorf("the running node's answer: %w", err)
	}
	return answer, nil
}

// carry passes on the bytes of a stream; what fails on this side ends the call by cancel. What it returns waits until
// all that the command gave out has been passed on.
func (c *Client) carry(ctx context.Context, cancel context.CancelCauseFunc, path string,
	s stream) (passedOn func() error) {
	if s.in != nil {
		// The goroutine stays behind in a Read that does not return.
		go func() { _, _ = c.do(ctx, http.MethodPost, path, failing{s.in, cancel}) }()
		return func() error { return nil }
	}
	copied := make(chan error, 1)
	go func() {
		answer, err := c.do(ctx, http.MethodGet, path, nil)
		if err == nil {
			err = drain(s.out, answer, cancel)
		}
		copied <- err
	}()
	return func() error {
		select {
		case err := <-copied:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// drain copies what a command gives out.
func drain(out io.Writer, from *http.Response, cancel context.CancelCauseFunc) error {
	if from.StatusCode != http.StatusOK {
		return readAnswer(from.Body, nil, nil)
	}
	buf := make([]byte, copySize)
	for {
		n, err := from.Body.Read(buf)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				cancel(err)
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("the running node's stream broke off: %w", err)
		}
	}
}

// failing ends a call with the reason why its input cannot be read. It hides a Close: the input is the caller's.
type failing struct {
	io.Reader
	cancel context.CancelCauseFunc
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil && err != io.EOF {
		f.cancel(err)
	}
	return n, err
}
