package wire

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/go-json-experiment/json/jsontext"
)

// LocalCall asks the running node, over its own socket (DATA/node.sock), to do a command. A connection carries one
// call: the caller writes LOCAL_CALL, the node any number of LOCAL_STATUS, then one LOCAL_RESULT. Each message is one
// line.
type LocalCall struct {
	Command string         `json:"command"`
	Args    jsontext.Value `json:"args,omitzero"`   // an object; its members are the command's own
	Stream  string         `json:"stream,omitzero"` // of the connection that carries bytes for it, where there is one
}

// LocalStream begins a connection that carries the bytes that a call takes in or gives out, and nothing else: behind
// this line they follow in HTTP's chunked form, so that their end differs from that of whoever writes them. The call
// names it by the stream's name.
type LocalStream struct {
	Stream string `json:"stream"`
}

// LocalStatus is progress: the object that the command prints as a --json status line.
type LocalStatus struct {
	Status jsontext.Value `json:"status"`
}

// LocalResult ends a call with the command's --json summary, or with an error, its exit code and the next step.
type LocalResult struct {
	Result jsontext.Value `json:"result,omitzero"`
	Code   core.Code      `json:"code"`
	Error  string         `json:"error,omitempty"`
	Hint   string         `json:"hint,omitempty"`
}

func (LocalCall) Type() string   { return "LOCAL_CALL" }
func (LocalStream) Type() string { return "LOCAL_STREAM" }
func (LocalStatus) Type() string { return "LOCAL_STATUS" }
func (LocalResult) Type() string { return "LOCAL_RESULT" }
