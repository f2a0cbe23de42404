package node

import (
	"context"
	"io"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// The commands a node carries out for its own user, in this process or through DATA/node.sock.
// Each Result is also the command's --json summary.
const (
	CommandPlace  = "place"
	CommandFetch  = "fetch"
	CommandPeers  = "peers"
	CommandRemove = "rm"
	CommandGC     = "gc"
	CommandStatus = "status"
	CommandFiles  = "files"
	CommandList   = "ls"
	CommandLimit  = "limit"
	CommandProbe  = "probe"
	CommandStop   = "stop"
	CommandSurvey = "survey"
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

// PlaceArgs asks for a version to be placed. An empty Name is the newest version not yet placed; Version 0 is the
// latest.
type PlaceArgs struct {
	Name     string `json:"name"`
	Version  int    `json:"version"`
	Replicas int    `json:"replicas"`
	Strategy string `json:"strategy"`
	DryRun   bool   `json:"dry_run"`
	Retain   int64  `json:"retain_s"` // how long targets are to keep it, seconds

	KeepLocal bool `json:"keep_local,omitempty"` // its bytes stay on this machine too

	Objective string  `json:"objective,omitempty"` // of plan.Request; empty: as the strategy goes
	Blend     float64 `json:"blend,omitempty"`
	Deadline  float64 `json:"deadline_s,omitempty"`

	// to be carried out as it is; it sets all of the above but DryRun and Retain
	Plan *plan.Saved `json:"plan,omitempty"`
	Show bool        `json:"show,omitempty"` // report the plan as a Status before anything is sent
}

// PlaceResult is the plan and, unless DryRun, what became of it.
type PlaceResult struct {
	Name       string      `json:"name"`
	Version    int         `json:"version"`
	Replicas   int         `json:"replicas"`
	Raised     string      `json:"raised,omitempty"` // why there are more replicas than were asked for
	Strategy   string      `json:"strategy"`
	Task       core.TaskID `json:"task"`
	Bytes      core.Size   `json:"bytes"`       // stored bytes of the version, each chunk once
	NewBytes   core.Size   `json:"new_bytes"`   // of them, what no live task covered
	SentBytes  core.Size   `json:"sent_bytes"`  // payload that reached targets, all copies
	Runs       int         `json:"runs"`        // runs in the task
	Segments   int         `json:"segments"`    // licences
	Placements []Placement `json:"placements"`  // one a node that keeps something
	Flows      []FlowRow   `json:"flows"`       // who sends to whom
	Refused    []Refused   `json:"refused"`     // nodes that get nothing, and why
	PredictedS float64     `json:"predicted_s"` // of the plan, pipeline fill included
	FillS      float64     `json:"fill_s"`      // of which pipeline fill
	BoundS     float64     `json:"bound_s"`     // the least possible time
	Ratio      float64     `json:"ratio"`       // predicted ÷ bound
	Binding    string      `json:"binding"`     // the resource that sets the bound
	Risk       plan.Risk   `json:"risk"`        // what the loss of nodes would mean
	Seconds    float64     `json:"seconds"`     // measured: first data byte to last receipt; 0 for a dry run
	LetGo      core.Size   `json:"let_go"`      // stored bytes that went from this machine, since peers keep them now
	DryRun     bool        `json:"dry_run"`     //
	Warnings   []string    `json:"warnings,omitempty"`
}

// Placement is what one node keeps of the task, and what it costs by the strategy.
type Placement struct {
	Node     core.ID   `json:"node"`
	Address  string    `json:"address"`
	Bytes    core.Size `json:"bytes"`
	Runs     int       `json:"runs"`
	Cost     float64   `json:"cost"`
	Explain  string    `json:"explain"`
	Reused   core.Size `json:"reused_bytes"` // of Bytes, what it kept already
	FinishS  float64   `json:"finish_s"`     // planned: until its last run is there
	Seconds  float64   `json:"seconds"`      // measured: to its last receipt
	Receipts int       `json:"receipts"`
}

// FlowRow is one flow of the plan.
type FlowRow struct {
	From  core.ID   `json:"from"`
	To    core.ID   `json:"to"`
	Bytes core.Size `json:"bytes"`
	Rate  core.Rate `json:"rate"` // planned, wire
}

// Refused is a node that the plan leaves out.
type Refused struct {
	Node    core.ID `json:"node"`
	Address string  `json:"address"`
	Reason  string  `json:"reason"`
}

// FetchArgs asks for a version, or the bytes from Start up to End of it (both 0: all), to be brought back into Output,
// an absolute path, or in order and verified to Out.
type FetchArgs struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Output  string    `json:"output"`
	Out     io.Writer `json:"-"` // nil: Output is a path; else it is only named so
	Force   bool      `json:"force"`
	Start   core.Size `json:"start"`
	End     core.Size `json:"end"`
	Seed    string    `json:"seed"`    // absolute path of an older version of the file
	Partial bool      `json:"partial"` // leave holes where chunks are lost
}

// FetchResult says where the bytes came from; Node is zero for this machine's own store.
type FetchResult struct {
	Name    string       `json:"name"`
	Version int          `json:"version"`
	Output  string       `json:"output"`
	Bytes   core.Size    `json:"bytes"`
	Seconds float64      `json:"seconds"`
	Sources []Source     `json:"sources"`
	Resumed core.Size    `json:"resumed_bytes"`   // plain, left by a fetch that was interrupted
	Seeded  core.Size    `json:"seeded_bytes"`    // plain, out of the seed
	Holes   []core.Range `json:"holes,omitempty"` // lost, in bytes of the file
	Lost    []Refused    `json:"lost"`            // holders that failed on the way, and how
}

// Source is a holder that sent stored bytes.
type Source struct {
	Node    core.ID   `json:"node"`
	Address string    `json:"address"`
	Bytes   core.Size `json:"bytes"`
}

// PeerRow is one line of `bkp peers`. Rates are wire bytes per second; 0 is unknown.
type PeerRow struct {
	ID        core.ID           `json:"id"`
	Address   string            `json:"address"`
	Labels    map[string]string `json:"labels,omitempty"`
	Connected bool              `json:"connected"`
	Declared  core.Rate         `json:"declared"` // the smaller word of both sides, for each direction
	// to the peer: the lower quartile, or the mean while there are few samples
	Measured core.Rate `json:"measured"`
	Leased   core.Rate `json:"leased"` // both directions together

	MeasuredMean core.Rate `json:"measured_mean"` // to the peer, newer samples counting more
	Samples      int       `json:"samples"`       // that Measured comes of; plans count on it from 8 on
	MeasuredIn   core.Rate `json:"measured_in"`   // from the peer, as it measured
	LeasedOut    core.Rate `json:"leased_out"`
	LeasedIn     core.Rate `json:"leased_in"`

	Remaining core.Size `json:"remaining"`
	Files     int       `json:"files"`
	DelayMS   float64   `json:"delay_ms"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
	Problem   string    `json:"problem,omitempty"`  // why it is not connected
	Degraded  []string  `json:"degraded,omitempty"` // what is wrong with it, as it says
}

// PeersArgs asks for the peers; a node just started for the command waits a moment for them.
type PeersArgs struct {
	WaitS float64 `json:"wait_s"`
	Links bool    `json:"links"` // also those from peer to peer, as the peers report them
}

// PeersResult is the peer table.
type PeersResult struct {
	Node   core.ID   `json:"node"` // this one
	Listen string    `json:"listen"`
	Peers  []PeerRow `json:"peers"`
	Links  []LinkRow `json:"links,omitempty"`
}

// LinkRow is a link from one peer to another. Rates are wire bytes per second; 0 is unknown.
type LinkRow struct {
	From     core.ID   `json:"from"`
	To       core.ID   `json:"to"`
	Address  string    `json:"address"` // of To
	Declared core.Rate `json:"declared"`
	Measured core.Rate `json:"measured"`
	Leased   core.Rate `json:"leased"`
	DelayMS  float64   `json:"delay_ms"`
}

// SurveyResult is the network as a placement would see it now; this node is the source.
type SurveyResult struct {
	Snapshot core.Snapshot `json:"snapshot"`
}

// RemoveArgs asks for a version (0: all of them) to be forgotten here and released on its holders.
type RemoveArgs struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Force   bool   `json:"force"` // also where holders cannot be told
}

// RemoveResult says what was let go.
type RemoveResult struct {
	Name     string    `json:"name"`
	Versions []int     `json:"versions"`
	Released []Release `json:"released"`
	Unheard  []Refused `json:"unheard"` // holders that could not be told: unless forced, the version stays
}

// Release is what one holder let go.
type Release struct {
	Node  core.ID   `json:"node"`
	Runs  int       `json:"runs"`
	Bytes core.Size `json:"bytes"`
}

// GCResult says what collection freed in staging and in what is kept for others.
type GCResult struct {
	StagingFreed  core.Size      `json:"staging_freed"`
	HoldingsFreed core.Size      `json:"holdings_freed"`
	StagingKept   core.Size      `json:"staging_kept"` // with what waits
	HoldingsKept  core.Size      `json:"holdings_kept"`
	Staging       core.Collected `json:"staging"`
	Holdings      core.Collected `json:"holdings"`
	Seconds       float64        `json:"seconds"`
}

// StatusResult is `bkp node status`.
type StatusResult struct {
	ID        core.ID        `json:"id"`
	Listen    string         `json:"listen"`
	Health    string         `json:"health"` // "ready" or "degraded"
	Ready     bool           `json:"ready"`  // it is not degraded
	Reasons   []HealthReason `json:"reasons"`
	Started   time.Time      `json:"started"`
	Capacity  core.Size      `json:"capacity"`
	Used      core.Size      `json:"used"`
	Reserved  core.Size      `json:"reserved"`
	Remaining core.Size      `json:"remaining"` // what peers are told that it still takes
	Staged    core.Size      `json:"staged"`
	Runs      int            `json:"runs"`
	Peers     int            `json:"peers"` // connected
	Verifiers []string       `json:"verifiers"`
	Accounts  []core.Account `json:"accounts"`
	Leases    []LeaseRow     `json:"leases"` // live ones, then the last 64 that ended
	Tasks     []TaskRow      `json:"tasks"`
}

// LeaseRow is one lease: what it was expected to take and what it took.
type LeaseRow struct {
	Lease     uint64    `json:"lease"`
	Peer      core.ID   `json:"peer"`
	Direction string    `json:"direction"` // "send" or "receive"
	Purpose   string    `json:"purpose"`   // "store" or "gain"
	Rate      core.Rate `json:"rate"`
	Bytes     core.Size `json:"bytes"` // payload moved
	ExpectedS float64   `json:"expected_s"`
	TookS     float64   `json:"took_s"`
	State     string    `json:"state"` // "live", "done", "aborted", "expired"
}

// TaskRow is a task that this node coordinates or keeps parts of.
type TaskRow struct {
	Task     core.TaskID `json:"task"`
	Owner    core.ID     `json:"owner"`
	Alias    string      `json:"alias"`
	Version  int         `json:"version"`
	Segments int         `json:"segments"`
	Runs     int         `json:"runs"`
	Bytes    core.Size   `json:"bytes"`
}

// FilesArgs pages the stored-file list.
type FilesArgs struct {
	After int `json:"after"`
	Limit int `json:"limit"`
}

// FilesResult is `bkp node files`.
type FilesResult struct {
	Files []core.File `json:"files"`
	More  bool        `json:"more"`
}

// Caller carries out a command: a running node in this process, or the door to one in another.
type Caller interface {
	// Call decodes nothing: args and result are one of the types above, by pointer for result.
	Call(ctx context.Context, command string, args any, result any, status func(Status)) error
}
