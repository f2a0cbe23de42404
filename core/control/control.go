// Package control is what the commands of a data directory ask of its node: their arguments and results.
package control

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// The commands that a node carries out for its own user, in this process or through DATA/node.sock. Each Result is also
// the command's --json summary.
const (
	CommandPlace   = "place"
	CommandFetch   = "fetch"
	CommandBackup  = "backup"
	CommandVerify  = "verify"
	CommandPeers   = "peers"
	CommandProbe   = "probe"
	CommandLimit   = "limit"
	CommandSurvey  = "survey"
	CommandList    = "ls"
	CommandRemove  = "rm"
	CommandGC      = "gc"
	CommandStatus  = "status"
	CommandFiles   = "files"
	CommandRecords = "records"
)

// Status is progress on long work; it is also the --json status line.
type Status struct {
	Phase   string    `json:"phase"`             // "plan", "place", "fetch", "refs", …
	Done    core.Size `json:"done"`              // bytes
	Total   core.Size `json:"total"`             // bytes, 0 while unknown
	Seconds float64   `json:"seconds"`           // since the phase began
	Text    string    `json:"text,omitempty"`    // something a person wants to know now
	Warning bool      `json:"warning,omitempty"` // Text is a warning

	Plan *plan.Saved `json:"plan,omitempty"` // what a placement is about to do, once, where PlaceArgs.Show asks for it
}

// None is the arguments of a command that takes none.
type None struct{}

// Caller carries out a command: a running node in this process, or the door to one in another.
type Caller interface {
	// Call decodes nothing: args and result are one of the types above, by pointer for result.
	Call(ctx context.Context, command string, args any, result any, status func(Status)) error
}
