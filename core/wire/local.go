package wire

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/go-json-experiment/json/jsontext"
)

// LocalCall asks the running node, over its own socket (DATA/node.sock), to do a command. A connection carries one call: the
// caller writes LOCAL_CALL, the node any number of LOCAL_STATUS, then one LOCAL_RESULT. Each message is one line.
type LocalCall struct {
	Command string         `json:"command"`
	Args    jsontext.Value `json:"args,omitzero"` // an object; its members are the command's own
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
func (LocalStatus) Type() string { return "LOCAL_STATUS" }
func (LocalResult) Type() string { return "LOCAL_RESULT" }
