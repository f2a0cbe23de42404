// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// The values of message_type.
const (
	lineStatus  = "status"
	lineSummary = "summary"
	lineError   = "exit_error"
)

// maxLine bounds a line of an answer: a result may list very many files.
const maxLine = 64 << 20

// exitError is how a command failed.
type exitError struct {
	Code    core.Code `json:"code"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
}

func exitErrorOf(err error) exitError {
	return exitError{core.CodeOf(err), err.Error(), core.HintOf(err)}
}

func (e exitError) err() error {
	err := core.Fail(e.Code, "%s", e.Message)
	if e.Hint != "" {
		err = core.WithHint(err, "%s", e.Hint)
	}
	return err
}

// asPrinted writes JSON as the command line does with --json, but for lists without elements, which are never null.
var asPrinted = json.JoinOptions(jsonv1.DefaultOptionsV1(), json.FormatNilSliceAsNull(false),
	json.FormatNilMapAsNull(false), jsontext.EscapeForHTML(false))

// line writes an object with its message_type in front.
func line(kind string, object any) ([]byte, error) {
	raw, err := json.Marshal(object, asPrinted)
	if err != nil {
		return nil, err
	}
	comma := ","
	if len(raw) == len("{}") {
		comma = ""
	}
	return append([]byte(`{"message_type":"`+kind+`"`+comma), append(raw[1:], '\n')...), nil
}

// lineWriter writes the answer to a command, from any goroutine until it is closed. A caller who has gone is noticed by
// who reads from it.
type lineWriter struct {
	mu     sync.Mutex
	to     http.ResponseWriter
	closed bool
}

func (w *lineWriter) write(kind string, object any) error {
	raw, err := line(kind, object)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		_, _ = w.to.Write(raw)
		_ = http.NewResponseController(w.to).Flush()
	}
	return nil
}

// status is write for progress: what cannot be written is left out.
func (w *lineWriter) status(s Status) { _ = w.write(lineStatus, s) }

// end writes how the command ended.
func (w *lineWriter) end(result any, err error) {
	if counts(err) {
		if failed := w.write(lineSummary, result); failed != nil {
			err = errors.Join(err, fmt.Errorf("the result: %w", failed))
		}
	}
	if err != nil {
		_ = w.write(lineError, exitErrorOf(err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// readAnswer follows an answer to its end. What it does not know of a newer node it passes over.
func readAnswer(answer io.Reader, result any, status func(Status)) error {
	lines := bufio.NewScanner(answer)
	lines.Buffer(nil, maxLine)
	ended := false
	for lines.Scan() {
		var kind struct {
			Type string `json:"message_type"`
		}
		if err := json.Unmarshal(lines.Bytes(), &kind); err != nil {
			return fmt.Errorf("the running node's answer: %w", err)
		}
		switch kind.Type {
		case lineStatus:
			var s Status
			if json.Unmarshal(lines.Bytes(), &s) == nil && status != nil {
				status(s)
			}
		case lineSummary:
			if err := json.Unmarshal(lines.Bytes(), result); err != nil {
				return fmt.Errorf("the running node's result: %w", err)
			}
			ended = true
		case lineError:
			var e exitError
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Code == core.CodeOK {
				return fmt.Errorf("the running node's error: %.200q", lines.Bytes())
			}
			return e.err()
		}
	}
	err := lines.Err()
	if err == nil && !ended {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return hungUp(err)
	}
	return nil
}

func hungUp(err error) error {
	return core.WithHint(fmt.Errorf("the running node hung up: %w", err), "see its log; what was done so far is kept")
}
