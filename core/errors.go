// SPDX-License-Identifier: Apache-2.0

package core

import (
	"errors"
	"fmt"
)

// Code is a process exit code. Scripts rely on these; they are never renumbered.
type Code int

const (
	CodeOK        Code = 0
	CodeFailed    Code = 1
	CodeUsage     Code = 2
	CodePartial   Code = 3  // ended with part undone; the message says which
	CodeNoName    Code = 10 // no such name or version
	CodeBusy      Code = 11 // busy or locked
	CodeRefused   Code = 12 // licence, identity or quota
	CodeRedundant Code = 13 // redundancy or chunks not reachable
	CodeWrong     Code = 14 // bytes present but wrong
	CodePlugin    Code = 20 // a plugin is missing, crashed, hung or answered nonsense
	CodeSignal    Code = 128
)

// Error is an error with an exit code and, where there is one, the next step for a person.
type Error struct {
	Code Code
	Hint string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Fail makes an Error of the given code; the format may wrap with %w.
func Fail(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// WithHint attaches the next step to err, keeping its code.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Code: CodeOf(err), Hint: fmt.Sprintf(format, args...), Err: err}
}

// WithCode gives err a code, in place of one that it carries.
func WithCode(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// CodeOf is the exit code that err carries, CodeFailed for one without, CodeOK for nil.
func CodeOf(err error) Code {
	if err == nil {
		return CodeOK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeFailed
}

// HintOf is the outermost hint that err carries, or "".
func HintOf(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// ErrNotFound is what stores and indexes return for a key they do not have.
var ErrNotFound = errors.New("not found")

// Reason is why a peer refused or aborted, as numbered on the wire. Numbers are never reused.
type Reason int

const (
	ReasonNone     Reason = 0
	ReasonInternal Reason = 1  // this node failed; its log says how
	ReasonProtocol Reason = 2  // a message out of order or out of bounds
	ReasonBusy     Reason = 10 // no bandwidth free now; try again after retry_s
	ReasonHave     Reason = 11 // already kept here
	ReasonInFlight Reason = 12 // on its way from another sender
	ReasonSpace    Reason = 13 // no room
	ReasonUnknown  Reason = 14 // no such task, run, name or lease
	ReasonCorrupt  Reason = 15 // bytes do not match their hash
	ReasonExpired  Reason = 16 // lease expired
	ReasonStopped  Reason = 17 // the other side is stopping or gave up
	ReasonDegraded Reason = 18 // something is wrong with this node, and until it is mended it keeps nothing new
	ReasonRights   Reason = 20 // no delegation with the needed right
	ReasonContent  Reason = 21 // that version stands for other content here
	ReasonLocked   Reason = 22 // it is locked: nobody releases it yet
	ReasonLicense  Reason = 30 // the licence was refused; reason says why
	ReasonReplay   Reason = 31 // the licence id is bound to another root
	ReasonVerifier Reason = 32 // a verifier plugin failed: nothing was judged
)

// String is the reason in words, for a person.
func (r Reason) String() string {
	if words, ok := reasonWords[r]; ok {
		return words
	}
	return fmt.Sprintf("a reason that this release does not know (%d)", int(r))
}

var reasonWords = map[Reason]string{
	ReasonNone: "no reason given", ReasonInternal: "it failed, its log says how", ReasonProtocol: "a message out of order",
	ReasonBusy: "no bandwidth free", ReasonHave: "kept there already", ReasonInFlight: "on its way from another",
	ReasonSpace: "no room", ReasonUnknown: "it knows no such task, run or name", ReasonCorrupt: "bytes were wrong",
	ReasonExpired: "the lease expired", ReasonStopped: "it stopped or gave up", ReasonDegraded: "it is degraded",
	ReasonRights: "no delegation with the right", ReasonContent: "it knows other content of that version",
	ReasonLicense: "the licence was refused", ReasonReplay: "the licence was used for something else",
	ReasonVerifier: "a verifier failed",
}

// ExitCode is what a command that met this reason exits with.
func (r Reason) ExitCode() Code {
	switch r {
	case ReasonBusy, ReasonInFlight:
		return CodeBusy
	case ReasonSpace, ReasonUnknown, ReasonStopped, ReasonDegraded:
		return CodeRedundant
	case ReasonCorrupt:
		return CodeWrong
	case ReasonRights, ReasonContent, ReasonLocked, ReasonLicense, ReasonReplay:
		return CodeRefused
	case ReasonVerifier:
		return CodePlugin
	default:
		return CodeFailed
	}
}
