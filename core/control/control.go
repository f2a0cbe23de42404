// SPDX-License-Identifier: Apache-2.0

// Package control is how the commands of a data directory reach its running node.
//
// A command is a POST over the unix socket DATA/node.sock, its arguments a JSON object, its answer JSON lines as the
// command line prints them with --json: objects of message_type "status" while it runs, then a "summary", or an
// "exit_error" with code, message and hint. Where a part stayed undone (code 3) both come, the error last.
//
//	curl --unix-socket DATA/node.sock http://bkp/v1/status -d '{}'
//
// The bytes of a file have a request of their own beside the command's, both naming one stream:
//
//	curl --unix-socket DATA/node.sock http://bkp/v1/streams/7d0c > disk.img &
//	curl --unix-socket DATA/node.sock 'http://bkp/v1/fetch?stream=7d0c' -d '{"name":"disk.img"}'
//
// openapi.json describes all of it, made from the types here, and the node gives it at /openapi.json. Whoever hangs up
// cancels the command. The socket is its owner's alone, and no page in a browser is answered.
package control

import (
	"context"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/saved"
)

// The commands that a node carries out for its own user, in this process or through DATA/node.sock. Each Result is also
// the command's --json summary.
const (
	CommandPlace    = "place"      // decide which peers keep a version, and bring it there
	CommandFetch    = "fetch"      // bring a version back
	CommandBackup   = "backup"     // cut a file and place it in one stream
	CommandOpen     = "open"       // have a version read at any place, as OpenArgs say, until the caller hangs up
	CommandVerify   = "verify"     // hold what the holders of a version keep against its records
	CommandPeers    = "peers"      // list the peers and what they give
	CommandProbe    = "probe"      // measure links on purpose
	CommandLimit    = "limit"      // change and list what this node gives its sides and links
	CommandSurvey   = "survey"     // describe the network as a placement would see it
	CommandList     = "ls"         // list the versions that this machine and its peers know
	CommandRemove   = "rm"         // forget versions and release them on their holders
	CommandGC       = "gc"         // free what nobody needs
	CommandStatus   = "status"     // describe the node: health, space, accounts, leases, tasks
	CommandFiles    = "files"      // list the runs that this node keeps for others
	CommandStanding = "placements" // tell how placements stand
	CommandRepair   = "repair"     // have copies proved, and what lacks placed anew
	CommandDrain    = "drain"      // have a node keep nothing any more
	CommandReload   = "reload"     // read the settings anew
	CommandInvite   = "invite"     // make an invite by which new nodes join the cluster
	CommandInvites  = "invites"    // revoke an invite, and list all
	CommandRevoke   = "revoke"     // take back what nodes may do in the owner's name
	CommandRecords  = "records"    // hold the records of what is kept for others against each other

	CommandImport    = "import"    // take what came on a disk
	CommandRebalance = "rebalance" // relieve nodes that are dear or nearly full
)

// Status is progress on long work; it is also the --json status line.
type Status struct {
	Phase   string    `json:"phase"`             // "plan", "place", "fetch", "refs", …
	Done    core.Size `json:"done"`              // bytes
	Total   core.Size `json:"total"`             // bytes, 0 while unknown
	Seconds float64   `json:"seconds"`           // since the phase began
	Text    string    `json:"text,omitempty"`    // something a person wants to know now
	Warning bool      `json:"warning,omitempty"` // Text is a warning

	Plan *saved.Plan `json:"plan,omitempty"` // what a placement is about to do, once, where PlaceArgs.Show asks for it
	// what the strategy was asked, and what it answered, where PlaceArgs.Record asks for it
	Asked *core.Asked `json:"asked,omitempty"`

	Predicted float64 `json:"predicted_s,omitempty"` // of the whole placement by its plan
	Bound     float64 `json:"bound_s,omitempty"`     // no plan takes less
	Binding   string  `json:"binding,omitempty"`     // what sets that
}

// None is the arguments of a command that takes none.
type None struct{}

// Node carries out the commands. Each is told how far it has come by status, from any goroutine but none after it has
// returned. A result counts where the error is nil or of core.CodePartial.
type Node interface {
	Place(ctx context.Context, args PlaceArgs, status func(Status)) (PlaceResult, error)
	Fetch(ctx context.Context, args FetchArgs, status func(Status)) (FetchResult, error)
	Open(ctx context.Context, args OpenArgs, status func(Status)) (OpenResult, error)
	Backup(ctx context.Context, args BackupArgs, status func(Status)) (BackupResult, error)
	Verify(ctx context.Context, args VerifyArgs, status func(Status)) (VerifyResult, error)
	ListPeers(ctx context.Context, args PeersArgs, status func(Status)) (PeersResult, error)
	Probe(ctx context.Context, args ProbeArgs, status func(Status)) (ProbeResult, error)
	Limit(ctx context.Context, args LimitArgs, status func(Status)) (LimitResult, error)
	Survey(ctx context.Context, args None, status func(Status)) (SurveyResult, error)
	ListVersions(ctx context.Context, args ListArgs, status func(Status)) (ListResult, error)
	Remove(ctx context.Context, args RemoveArgs, status func(Status)) (RemoveResult, error)
	CollectPlaced(ctx context.Context, args GCArgs, status func(Status)) (GCResult, error)
	Status(ctx context.Context, args None, status func(Status)) (StatusResult, error)
	Files(ctx context.Context, args FilesArgs, status func(Status)) (FilesResult, error)
	LookAtRecords(ctx context.Context, args None, status func(Status)) (RecordsResult, error)
	Standings(ctx context.Context, args StandingArgs, status func(Status)) (StandingResult, error)
	RepairPlacements(ctx context.Context, args StandingArgs, status func(Status)) (StandingResult, error)
	Invite(ctx context.Context, args InviteArgs, status func(Status)) (InviteResult, error)
	Invites(ctx context.Context, args InvitesArgs, status func(Status)) (InvitesResult, error)
	Revoke(ctx context.Context, args RevokeArgs, status func(Status)) (RevokeResult, error)
	Drain(ctx context.Context, args DrainArgs, status func(Status)) (DrainResult, error)
	Reload(ctx context.Context, args None, status func(Status)) (ReloadResult, error)
	Import(ctx context.Context, args ImportArgs, status func(Status)) (ImportResult, error)
	Rebalance(ctx context.Context, args RebalanceArgs, status func(Status)) (RebalanceResult, error)
}

// commands is what each command has the node do.
var commands = map[string]command{
	CommandPlace:    does[PlaceArgs, PlaceResult](Node.Place),
	CommandFetch:    does[FetchArgs, FetchResult](Node.Fetch),
	CommandBackup:   does[BackupArgs, BackupResult](Node.Backup),
	CommandOpen:     does[OpenArgs, OpenResult](Node.Open),
	CommandVerify:   does[VerifyArgs, VerifyResult](Node.Verify),
	CommandPeers:    does[PeersArgs, PeersResult](Node.ListPeers),
	CommandProbe:    does[ProbeArgs, ProbeResult](Node.Probe),
	CommandLimit:    does[LimitArgs, LimitResult](Node.Limit),
	CommandSurvey:   does[None, SurveyResult](Node.Survey),
	CommandList:     does[ListArgs, ListResult](Node.ListVersions),
	CommandRemove:   does[RemoveArgs, RemoveResult](Node.Remove),
	CommandGC:       does[GCArgs, GCResult](Node.CollectPlaced),
	CommandStatus:   does[None, StatusResult](Node.Status),
	CommandFiles:    does[FilesArgs, FilesResult](Node.Files),
	CommandStanding: does[StandingArgs, StandingResult](Node.Standings),
	CommandRepair:   does[StandingArgs, StandingResult](Node.RepairPlacements),
	CommandDrain:    does[DrainArgs, DrainResult](Node.Drain),
	CommandReload:   does[None, ReloadResult](Node.Reload),
	CommandInvite:   does[InviteArgs, InviteResult](Node.Invite),
	CommandInvites:  does[InvitesArgs, InvitesResult](Node.Invites),
	CommandRevoke:   does[RevokeArgs, RevokeResult](Node.Revoke),
	CommandRecords:  does[None, RecordsResult](Node.LookAtRecords),

	CommandImport:    does[ImportArgs, ImportResult](Node.Import),
	CommandRebalance: does[RebalanceArgs, RebalanceResult](Node.Rebalance),
}

// Caller has a command carried out: by a node in this process (Direct) or by one in another (Client). The result is
// decoded into what result points at; it counts where the error is nil or of core.CodePartial.
type Caller interface {
	Call(ctx context.Context, name string, args, result any, status func(Status)) error
}
