// SPDX-License-Identifier: Apache-2.0

package control

import (
	"io"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/plan/saved"
)

// PlaceArgs asks for a version to be placed. An empty Name is the newest version not yet placed; Version 0 is the
// latest.
type PlaceArgs struct {
	Name     string `json:"name"`
	Version  int    `json:"version"`
	Replicas int    `json:"replicas"`
	// of new runs of content; Replicas follows from it: what is in no stripe is to bear as much
	Erasure  core.Erasure `json:"erasure,omitzero"`
	AsBefore bool         `json:"as_before,omitempty"` // neither was asked for: what an earlier act wanted holds
	Strategy string       `json:"strategy"`
	DryRun   bool         `json:"dry_run"`
	Retain   int64        `json:"retain_s"`        // how long targets are to keep it, seconds
	Lock     int64        `json:"lock_s,omitzero"` // how long nobody may release it, seconds

	KeepLocal bool `json:"keep_local,omitempty"` // its bytes stay on this machine too

	Exclude []string `json:"exclude,omitempty"` // nodes that are to keep nothing of it, by ID, its beginning, or address
	Only    []string `json:"only,omitempty"`    // likewise: no others are to

	Objective string  `json:"objective,omitempty"` // of plan.Request; empty: as the strategy goes
	Blend     float64 `json:"blend,omitempty"`
	Deadline  float64 `json:"deadline_s,omitempty"`

	// with DryRun: tell of plans between the soonest and the cheapest, instead of Objective
	Frontier bool `json:"frontier,omitempty"`

	// to be carried out as it is; it sets all of the above but DryRun and Retain
	Plan *saved.Plan `json:"plan,omitempty"`
	Show bool        `json:"show,omitempty"` // report the plan as a Status before anything is sent
	// report as a Status what the strategy is asked, and what it answers
	Record      bool   `json:"record,omitempty"`
	Coordinator string `json:"coordinator,omitempty"` // the node that it is handed over to
	// Export is the folder, of a disk, that what the one node of Only is to keep is written to, instead of its being
	// sent.
	Export string `json:"export,omitempty"`
}

// PlaceResult is the plan and, unless DryRun, what became of it.
type PlaceResult struct {
	Name       string       `json:"name"`
	Version    int          `json:"version"`
	Replicas   int          `json:"replicas"` // what it bears with Erasure, and one
	Erasure    core.Erasure `json:"erasure,omitzero"`
	Raised     string       `json:"raised,omitempty"` // why there are more replicas than were asked for
	Strategy   string       `json:"strategy"`
	Task       core.TaskID  `json:"task"`
	Bytes      core.Size    `json:"bytes"`       // stored bytes of the version, each chunk once
	NewBytes   core.Size    `json:"new_bytes"`   // of them, what no live task covered
	SentBytes  core.Size    `json:"sent_bytes"`  // payload that reached targets, all copies
	Runs       int          `json:"runs"`        // runs in the task
	Segments   int          `json:"segments"`    // licences
	Placements []Placement  `json:"placements"`  // one a node that keeps something
	Flows      []FlowRow    `json:"flows"`       // who sends to whom
	Refused    []Refused    `json:"refused"`     // nodes that get nothing, and why
	PredictedS float64      `json:"predicted_s"` // of the plan, pipeline fill included
	FillS      float64      `json:"fill_s"`      // of which pipeline fill
	BoundS     float64      `json:"bound_s"`     // the least possible time
	Ratio      float64      `json:"ratio"`       // predicted ÷ bound
	Binding    string       `json:"binding"`     // the resource that sets the bound
	Risk       plan.Risk    `json:"risk"`        // what the loss of nodes would mean
	Seconds    float64      `json:"seconds"`     // measured: first data byte to last receipt; 0 for a dry run
	LetGo      core.Size    `json:"let_go"`      // stored bytes that went from this machine, since peers keep them now
	DryRun     bool         `json:"dry_run"`     //
	Warnings   []string     `json:"warnings,omitempty"`
	Frontier   []Point      `json:"frontier,omitempty"` // each cheaper and later than those before
	// Coordinator is who sees to it from now on; Copies is how many count by its word, beside its own.
	Coordinator core.ID `json:"coordinator,omitzero"`
	Copies      int     `json:"copies,omitempty"`
	DelayS      float64 `json:"delay_s,omitempty"` // measured: to the farthest node that keeps something
	Busy        []Busy  `json:"busy,omitempty"`    // what this node moves already

	OnDisk *Exported `json:"on_disk,omitempty"` // nil: it was not exported
}

// Exported is what is on a disk for a node.
type Exported struct {
	Folder  string    `json:"folder"`
	Node    core.ID   `json:"node"`
	Address string    `json:"address"`
	Runs    int       `json:"runs"`
	Bytes   core.Size `json:"bytes"`
	Written core.Size `json:"written"` // of Bytes: what was not there before
	Kept    core.Size `json:"kept"`    // what the node has already, as far as is known, and is not on the disk
	Rest    core.Size `json:"rest"`    // what is not on this machine, and goes over the link
	Seconds float64   `json:"seconds"`
	Expires int64     `json:"expires"` // until when the node takes it, Unix seconds
}

// Busy is a command under way whose bytes take bandwidth from another.
type Busy struct {
	Command string  `json:"command"`
	Name    string  `json:"name"`
	Version int     `json:"version"` // as WorkRow's
	EndsS   float64 `json:"ends_s"`  // foretold: seconds until it ends; 0 where nobody knows
}

// Point is a plan as one of several to choose from. Who wants it asks for the least cost by that deadline.
type Point struct {
	PredictedS float64 `json:"predicted_s"`
	DeadlineS  float64 `json:"deadline_s"` // PredictedS without the pipeline fill
	Cost       float64 `json:"cost"`       // of all new copies, by the strategy
	Nodes      int     `json:"nodes"`      // that keep something
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

// BackupArgs asks for a file to be cut and placed, a window of its bytes at a time, so that no second copy of it stands
// on this machine.
type BackupArgs struct {
	Input       string    `json:"input"` // absolute path
	In          io.Reader `json:"-"`     // nil: Input is a path; else it is read to its end instead
	Name        string    `json:"name"`
	Window      core.Size `json:"window"` // plain bytes placed at a time
	Chunker     string    `json:"chunker"`
	Compression string    `json:"compression"`
	Recheck     bool      `json:"recheck"`
	AllowEmpty  bool      `json:"allow_empty,omitempty"` // also where In gives not a byte

	// Changed is what changed since the newest version; nil: all is read.
	Changed *Changed `json:"changed,omitempty"`

	// SkipUnchanged makes no version where the newest, which must be placed, has the same content and mode.
	SkipUnchanged bool         `json:"skip_unchanged,omitempty"`
	Replicas      int          `json:"replicas"`
	Erasure       core.Erasure `json:"erasure,omitzero"` // as of PlaceArgs
	Strategy      string       `json:"strategy"`
	Retain        int64        `json:"retain_s"`
	Lock          int64        `json:"lock_s,omitzero"`
	Coordinator   string       `json:"coordinator,omitempty"` // as of PlaceArgs
}

// Changed is what of a file changed since the newest version of its name: only that is read.
type Changed struct {
	Ranges []core.Range `json:"ranges"` // in bytes
	Sample float64      `json:"sample"` // the share of all other chunks that are read all the same, 0 to 1
}

// Cut is what the cutting of a backup came to.
type Cut struct {
	Version   int       `json:"version"`
	Unchanged bool      `json:"unchanged,omitempty"` // Version is that from before, and nothing was placed
	Bytes     core.Size `json:"bytes"`
	Resumed   core.Size `json:"resumed_bytes"`        // of them: placed by a backup that was interrupted
	Kept      core.Size `json:"kept_bytes,omitempty"` // of them: as in the version before, and not read
	Chunks    int       `json:"chunks"`
	NewChunks int       `json:"new_chunks"` // that had to be placed
	Stored    core.Size `json:"stored_bytes"`
	Windows   int       `json:"windows"`
	Root      core.Hash `json:"root"`
}

// BackupResult is the cut and the placement of the whole.
type BackupResult struct {
	Name string `json:"name"`
	Cut
	Replicas   int          `json:"replicas"`
	Erasure    core.Erasure `json:"erasure,omitzero"`
	SentBytes  core.Size    `json:"sent_bytes"`
	Placements []Placement  `json:"placements"`
	Seconds    float64      `json:"seconds"`
	Warnings   []string     `json:"warnings,omitempty"`
}
