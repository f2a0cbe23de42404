// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Message is one control message. Every message travels as a JSON object whose "type" is Type().
type Message interface{ Type() string }

// The messages that there are.
func init() {
	register[Hello](atMost(MaxHello))
	register[Auth](atMost(MaxAuth))
	register[Join](since(FeatureInvites), atMost(MaxHello))
	register[Joined](since(FeatureInvites), atMost(MaxAuth))
	register[Delegation]()
	register[Revoked](since(FeatureRevoked))
	register[Heads](since(FeatureHeads))
	register[BandwidthCoordination]()
	register[StateQuery]()
	register[StateReport]()
	register[StorageTask]()
	register[TaskAgree]()
	register[TaskRefuse]()
	register[Want]()
	register[StorageApply]()
	register[StorageAgree]()
	register[StorageRefuse]()
	register[TransmissionBegin]()
	register[TransmissionComplete]()
	register[TransmissionAbort]()
	register[ProbeApply]()
	register[LeaseRevise]()
	register[GainApply]()
	register[GainAgree]()
	register[GainRefuse]()
	register[RefPut]()
	register[RefOK]()
	register[RefList]()
	register[RefGet]()
	register[RefReport]()
	register[Release]()
	register[ReleaseDone]()
	register[Relay]()
	register[Audit](since(FeatureAudit))
	register[AuditProof](since(FeatureAudit))
	register[AuditRefuse](since(FeatureAudit))
	register[Handover](since(FeatureKeep))
	register[HandoverDone](since(FeatureKeep))
	register[Countersigned](since(FeatureCountersigned))
}

// The channels that HELLO opens between two nodes. The directions of data are told from the dialler of the socket.
const (
	ChannelControl     = "control"
	ChannelDataSend    = "data-send"    // dialler → listener
	ChannelDataReceive = "data-receive" // listener → dialler, for who dialled the control socket
	ChannelDataBack    = "data-back"    // listener → dialler, for who took the control socket
	ChannelJoin        = "join"         // of version 2, over wss: JOIN follows and not AUTH, then the socket ends
)

// Hello opens a socket: the dialler first, then the listener.
type Hello struct {
	V       int               `json:"v"` // the version that the socket agreed on
	Node    core.ID           `json:"node"`
	Key     []byte            `json:"key"`   // Ed25519 public key, base64
	Nonce   core.Hash         `json:"nonce"` // 32 random bytes
	Channel string            `json:"channel"`
	Epoch   core.Epoch        `json:"epoch"`
	Time    int64             `json:"time"`             // Unix seconds
	Listen  string            `json:"listen,omitempty"` // address this node listens at, if any
	Labels  map[string]string `json:"labels,omitempty" most:"labels"`

	// that this node has; its own members come with versions only
	Features []Feature `json:"features,omitempty" most:"features" wire:"v2"`
}

// Auth proves who sent the HELLO; nothing else is heard before it.
type Auth struct {
	Proof       []byte   `json:"proof,omitempty"` // HMAC over the cluster token; absent without one
	Signature   []byte   `json:"signature"`       // Ed25519 over the same message
	Delegations [][]byte `json:"delegations,omitempty" most:"proofs"`
}

// Join asks to become a member of the listener's cluster by one of its invites. It follows HELLO in place of AUTH.
type Join struct {
	Invite core.Nonce `json:"invite"` // its name
	Proof  []byte     `json:"proof"`  // HMAC over the invite's secret, as Auth's over the token, of SideJoin
}

// Joined answers Join with what a member has.
type Joined struct {
	Token  []byte            `json:"token"`                          // the cluster token
	Peers  []string          `json:"peers,omitempty" most:"invited"` // other members: entries of a peer list
	Labels map[string]string `json:"labels,omitempty" most:"labels"` // that the new one is to have
	Quota  core.Size         `json:"quota,omitzero"`                 // that its owners have at the listener; 0: none
}

// Delegation shows delegations on a session that began before there were any: an owner came to this node later.
type Delegation struct {
	Delegations [][]byte `json:"delegations" most:"proofs"`
}

// Revoked tells owners' lists of revocations: at the beginning of a session those that a node has, then those that
// come.
type Revoked struct {
	Lists [][]byte `json:"lists" most:"revoked"` // DSSE envelopes
}

// Heads tells at the beginning of a session how far this node's ledger is, and which heads of ledgers it keeps, its
// peer's first. Who is told of a head of its own answers with its newest, and the proof that it goes on from that one.
type Heads struct {
	Own   Head        `json:"own"`
	From  int64       `json:"from,omitzero"` // of what the proof is: so many entries, to Own.Size
	Proof []core.Hash `json:"proof,omitempty" most:"proof"`
	Kept  []Head      `json:"kept,omitempty" most:"heads"`
}

// Head is a node's word on all that its ledger held at one moment.
type Head struct {
	Size      int64     `json:"size"` // entries
	Root      core.Hash `json:"root"` // of the Merkle tree over them
	Key       []byte    `json:"key"`  // the node's public key
	Signature []byte    `json:"signature"`
}

// BandwidthCoordination says what this side gives the link, in wire bytes per second; the smaller word is its capacity.
// The listener answers the dialler's first word. Later ones, of either side, say that its figure is another now.
type BandwidthCoordination struct {
	Size    core.Rate `json:"size"`
	Follows bool      `json:"follows,omitzero"` // this side has no figure: it takes the other's, now and later
}

// StateQuery asks for a node's state; Files pages the stored-file list.
type StateQuery struct {
	Query uint64  `json:"query"`
	Owner core.ID `json:"owner,omitzero"`
	Files bool    `json:"files,omitzero"`
	After int     `json:"after,omitzero"`
	Limit int     `json:"limit,omitzero"`
}

// StateReport answers StateQuery. Rates of 0 are unlimited.
type StateReport struct {
	Query     uint64            `json:"query"`
	Remaining core.Size         `json:"remaining"`
	Capacity  core.Size         `json:"capacity"`
	FileCount int               `json:"file_count"`
	Files     []core.File       `json:"files,omitempty" most:"list"`
	More      bool              `json:"more,omitzero"`
	Accounts  []core.Account    `json:"accounts,omitempty" most:"list"`
	Up        core.Rate         `json:"up"`
	Down      core.Rate         `json:"down"`
	UpAhead   core.Forecast     `json:"up_ahead,omitempty" most:"steps"` // where a calendar changes it
	DownAhead core.Forecast     `json:"down_ahead,omitempty" most:"steps"`
	Load      float64           `json:"load"`
	Labels    map[string]string `json:"labels,omitempty" most:"labels"`
	Links     []LinkReport      `json:"links,omitempty" most:"list"`
	Degraded  []string          `json:"degraded,omitempty" most:"reasons" wire:"degraded"` // why this node is not well
}

// LinkReport is a link of the reporting node to a peer it is connected to.
type LinkReport struct {
	ID       core.ID           `json:"id"`
	Address  string            `json:"address,omitempty"`
	Labels   map[string]string `json:"labels,omitempty" most:"labels"`
	Capacity core.Rate         `json:"capacity"`
	DelayMS  float64           `json:"delay_ms"`
	Measured core.Rate         `json:"measured,omitzero"` // of what the reporting node sends; 0 is unknown
	// what this side will give it, where a calendar changes that
	Ahead core.Forecast `json:"ahead,omitempty" most:"steps"`
	// with Ahead: what the other side gives it now, where it has a figure
	Theirs core.Rate `json:"theirs,omitzero"`
}

// LinkTo is the link to a peer in a report; empty where it is not there.
func (r StateReport) LinkTo(id core.ID) LinkReport {
	if i := slices.IndexFunc(r.Links, func(l LinkReport) bool { return l.ID == id }); i >= 0 {
		return r.Links[i]
	}
	return LinkReport{}
}

// StorageTask gives a target one segment of a task. Run numbers count Files first, then Reused.
type StorageTask struct {
	Task      core.TaskID    `json:"task"`
	Segment   int            `json:"segment"`
	Alias     string         `json:"alias"`
	Version   int            `json:"version"`
	Files     []core.File    `json:"file" most:"runs"`
	Reused    []core.Reused  `json:"reused,omitempty" most:"runs"`
	Locations []core.Span    `json:"backup_location" most:"list"`
	Bandwidth []BandwidthRow `json:"bandwidth" most:"list"`
	// Trunks lie between the zones of the nodes' labels; TrunkShares are caps on flows that cross a trunk, which no
	// account of theirs knows.
	Trunks      []core.TrunkState `json:"trunks,omitempty" most:"list"`
	TrunkShares []BandwidthRow    `json:"trunk_shares,omitempty" most:"list"`
	Guide       core.Guide        `json:"guide,omitempty" wire:"guide"` // what senders go by
	License     []byte            `json:"license"`                      // DSSE envelope
}

// Tables is what of a task a relay needs after it was accepted.
func (m StorageTask) Tables() StorageTask {
	return StorageTask{Bandwidth: m.Bandwidth, Trunks: m.Trunks, TrunkShares: m.TrunkShares, Guide: m.Guide}
}

// BandwidthRow is the planned rate of the flow from one node to another, and what it is to carry for the whole task.
type BandwidthRow struct {
	From  core.ID   `json:"from"`
	To    core.ID   `json:"to"`
	Rate  core.Rate `json:"rate"`
	Bytes core.Size `json:"bytes"`
}

// TaskAgree accepts a segment; Have marks the runs whose chunks are all kept here already.
type TaskAgree struct {
	Task       core.TaskID `json:"task"`
	Segment    int         `json:"segment"`
	PredictedS float64     `json:"predicted_s"`
	Have       core.Bitmap `json:"have"`
}

// TaskRefuse refuses a segment.
type TaskRefuse struct {
	Task    core.TaskID `json:"task"`
	Segment int         `json:"segment"`
	Code    core.Reason `json:"code"`
	Reason  string      `json:"reason"`
}

// Want tells neighbours in a task what changed about one segment at the sender: hints, by which they choose whom to
// send which run next. Nothing is promised by it and nothing follows from a lost one but a choice that is refused.
type Want struct {
	Task    core.TaskID  `json:"task"`
	Segment int          `json:"segment"`
	Had     []core.Range `json:"had,omitempty" most:"runs"` // runs that it has received since it last said so
	// runs that it wants after all; from the source: whose receipts it lacks
	Wanted []core.Range `json:"wanted,omitempty" most:"runs"`
	Coming []core.Range `json:"coming,omitempty" most:"runs"` // all runs that are on their way to it now
	Need   core.Size    `json:"need"`                         // stored bytes that it lacks of the whole task
	Down   core.Rate    `json:"down"`                         // what it can receive at best; 0 is unlimited
}

// StorageApply asks the receiver for a lease, or renews one of the same flow, to send runs. Without runs it asks for
// another rate for those that were granted.
type StorageApply struct {
	Flow     uint64       `json:"flow"`
	Task     core.TaskID  `json:"task"`
	Segment  int          `json:"segment"`
	Filename string       `json:"filename"` // ALIAS.V.ORDER of the first run, or of any of the segment
	Size     core.Size    `json:"size"`     // stored bytes of the runs
	Rate     core.Rate    `json:"rate"`
	Runs     []core.Range `json:"runs" most:"runs"`
}

// StorageAgree is the only grant.
type StorageAgree struct {
	Flow     uint64       `json:"flow"`
	Lease    uint64       `json:"lease"`
	Rate     core.Rate    `json:"rate"`             // at most what was asked
	Runs     []core.Range `json:"runs" most:"runs"` // granted
	Have     []core.Range `json:"have,omitempty" most:"runs"`
	ExpiresS float64      `json:"expires_s"`
}

// StorageRefuse refuses an application; Have lists applied runs that are kept here already.
type StorageRefuse struct {
	Flow   uint64       `json:"flow"`
	Code   core.Reason  `json:"code"`
	Reason string       `json:"reason"`
	RetryS float64      `json:"retry_s,omitzero"`
	Have   []core.Range `json:"have,omitempty" most:"runs"`
}

// TransmissionBegin announces the data messages of one run. The sender numbers its transfers.
type TransmissionBegin struct {
	Transfer uint64       `json:"transfer"`
	Flow     uint64       `json:"flow"`
	Lease    uint64       `json:"lease"`
	Task     core.TaskID  `json:"task,omitzero"`
	Segment  int          `json:"segment,omitzero"`
	Run      int          `json:"run"`
	Hash     core.Hash    `json:"hash"` // of the whole run
	Chunks   []core.Chunk `json:"chunks" most:"chunks"`
}

// TransmissionComplete tells the sender that a run was received, or the coordinator that runs are durable.
type TransmissionComplete struct {
	Transfer uint64      `json:"transfer,omitzero"`
	Run      int         `json:"run,omitzero"`
	Received bool        `json:"received,omitzero"`
	HeldS    float64     `json:"held_s,omitzero"` // the receiver was at work with the run, and not with the socket
	Task     core.TaskID `json:"task,omitzero"`
	Segment  int         `json:"segment,omitzero"`
	To       core.ID     `json:"to,omitzero"`       // the coordinator, for a relayed receipt
	Receipt  []byte      `json:"receipt,omitempty"` // DSSE envelope
}

// TransmissionAbort ends a flow, or one transfer of it where Transfer is set; both sides give back.
type TransmissionAbort struct {
	Flow     uint64      `json:"flow"`
	Transfer uint64      `json:"transfer,omitzero"`
	Code     core.Reason `json:"code"`
	Reason   string      `json:"reason"`
}

// ProbeApply asks for a lease to send so many runs of so many bytes that mean nothing, to measure the link.
// STORAGE_AGREE or STORAGE_REFUSE answers it; each run is one chunk, and is dropped.
type ProbeApply struct {
	Flow uint64    `json:"flow"`
	Rate core.Rate `json:"rate"`
	Size core.Size `json:"size"`
	Runs int       `json:"runs"`
}

// LeaseRevise says that less is left of a lease: an account shrank at this end. The other lowers its own to it at once.
type LeaseRevise struct {
	Flow  uint64    `json:"flow"`
	Lease uint64    `json:"lease"`
	Rate  core.Rate `json:"rate"`
}

// GainApply asks a holder for runs.
type GainApply struct {
	Flow  uint64    `json:"flow"`
	Owner core.ID   `json:"owner"`
	Name  string    `json:"name"` // alias
	Rate  core.Rate `json:"rate"`
	Runs  []GainRun `json:"runs" most:"runs"`
}

// GainRun names a run and, where not all of it is wanted, the chunks that are.
type GainRun struct {
	Hash   core.Hash   `json:"hash"`
	Chunks core.Bitmap `json:"chunks,omitempty"`
}

// GainAgree grants a lease to fetch; the holder then sends a TransmissionBegin for each run.
type GainAgree struct {
	Flow     uint64      `json:"flow"`
	Lease    uint64      `json:"lease"`
	Rate     core.Rate   `json:"rate"`
	Runs     []core.Hash `json:"runs" most:"runs"`
	Missing  []core.Hash `json:"missing,omitempty" most:"runs"`
	ExpiresS float64     `json:"expires_s"`
}

// GainRefuse refuses a GainApply.
type GainRefuse struct {
	Flow    uint64      `json:"flow"`
	Code    core.Reason `json:"code"`
	Reason  string      `json:"reason"`
	RetryS  float64     `json:"retry_s,omitzero"`
	Missing []core.Hash `json:"missing,omitempty" most:"runs"`
}

const (
	RecordPiece   = 1 * core.MiB // of a segment record that one message carries
	RefsPerReport = 64
)

// RefPut gives a peer a piece of a segment record (Record set), or a ref whose records it was given before.
type RefPut struct {
	Query   uint64       `json:"query"`
	Owner   core.ID      `json:"owner"`
	Alias   string       `json:"alias"`
	Version int          `json:"version"`
	Task    core.TaskID  `json:"task"`
	Ref     []byte       `json:"ref,omitempty"`                   // DSSE envelope
	Records []core.Chunk `json:"records,omitempty" most:"chunks"` // with Ref: the records that it needs
	Record  core.Hash    `json:"record,omitzero"`                 // with Data: which record this is a piece of
	Size    core.Size    `json:"size,omitzero"`                   // of the whole record
	Offset  core.Size    `json:"offset,omitzero"`
	Data    []byte       `json:"data,omitempty"`

	Location core.Hash `json:"location,omitzero" wire:"keep"` // with Ref: which of Records is a coordinator's location
}

// RefOK answers RefPut; a Code other than 0 is a refusal.
type RefOK struct {
	Query  uint64      `json:"query"`
	Code   core.Reason `json:"code"`
	Reason string      `json:"reason,omitempty"`
}

// RefList asks for the refs of an owner, in order of (alias, version), after the given position.
type RefList struct {
	Query uint64  `json:"query"`
	Owner core.ID `json:"owner"`
	After int     `json:"after,omitzero"`
	Limit int     `json:"limit,omitzero"`
}

// RefGet asks for a ref (Version 0: the highest), or for the piece at Offset of a record.
type RefGet struct {
	Query   uint64    `json:"query"`
	Owner   core.ID   `json:"owner"`
	Alias   string    `json:"alias"`
	Version int       `json:"version"`
	Record  core.Hash `json:"record,omitzero"`
	Offset  core.Size `json:"offset,omitzero"`
}

// RefReport answers RefList and RefGet; a Code other than 0 is a refusal.
type RefReport struct {
	Query  uint64      `json:"query"`
	Code   core.Reason `json:"code"`
	Reason string      `json:"reason,omitempty"`
	Refs   [][]byte    `json:"refs,omitempty" most:"list"` // envelopes
	More   bool        `json:"more,omitzero"`
	Size   core.Size   `json:"size,omitzero"`  // of the whole record
	Data   []byte      `json:"data,omitempty"` // a piece of it

	// Tombstones says which versions are removed. Of a list they come behind all refs; After counts them too.
	Tombstones [][]byte `json:"tombstones,omitempty" most:"list" wire:"tombstones"`

	Location core.Chunk `json:"location,omitzero" wire:"keep"` // beside the one ref of REF_GET: it is got as a record is
}

// Release gives up what a task holds; the envelope is signed with the release right. With a tombstone, signed alike, it
// gives up all that is held of its version, and no ref of that is taken any more.
type Release struct {
	Query     uint64 `json:"query"`
	Envelope  []byte `json:"envelope"`
	Tombstone []byte `json:"tombstone,omitempty" wire:"tombstones"`
}

// ReleaseDone answers Release.
type ReleaseDone struct {
	Query  uint64      `json:"query"`
	Code   core.Reason `json:"code"`
	Reason string      `json:"reason,omitempty"`
	Runs   int         `json:"runs"`
	Bytes  core.Size   `json:"bytes"`
}

// Audit asks a holder to prove that it has what it keeps of a segment.
type Audit struct {
	Query uint64 `json:"query"`
	core.Challenge
}

// AuditProof answers Audit.
type AuditProof struct {
	Query uint64 `json:"query"`
	core.Proof
}

// AuditRefuse says that an Audit is not answered: later, where RetryS is set; or because runs are not here.
type AuditRefuse struct {
	Query  uint64       `json:"query"`
	Code   core.Reason  `json:"code"`
	Reason string       `json:"reason"`
	RetryS float64      `json:"retry_s,omitzero"`
	Lost   []core.Range `json:"lost,omitempty" most:"runs"` // runs of which bytes are lost, as the holder found
}

// Handover tells a node that it coordinates a version from now on, or that another does; the envelope is the owner's.
type Handover struct {
	Query    uint64 `json:"query"`
	Envelope []byte `json:"envelope"`
}

// HandoverDone answers Handover; a Code other than 0 is a refusal. Repeating the question tells how far it is.
type HandoverDone struct {
	Query   uint64      `json:"query"`
	Code    core.Reason `json:"code"`
	Reason  string      `json:"reason,omitempty"`
	Receipt []byte      `json:"receipt,omitempty"` // the node's, for the envelope
	Copies  int         `json:"copies"`            // that count by now, beside the coordinator's own
}

// Countersigned gives a target its receipt back, with the word of the owner's side that it came.
type Countersigned struct {
	Receipt  []byte `json:"receipt"`  // DSSE envelope, the target's
	Envelope []byte `json:"envelope"` // DSSE envelope, of the owner or of who placed the runs
}

func (Hello) Type() string                 { return "HELLO" }
func (Auth) Type() string                  { return "AUTH" }
func (Join) Type() string                  { return "JOIN" }
func (Joined) Type() string                { return "JOINED" }
func (Delegation) Type() string            { return "DELEGATION" }
func (Revoked) Type() string               { return "REVOKED" }
func (Heads) Type() string                 { return "HEADS" }
func (BandwidthCoordination) Type() string { return "BANDWIDTH_COORDINATION" }
func (StateQuery) Type() string            { return "STATE_QUERY" }
func (StateReport) Type() string           { return "STATE_REPORT" }
func (StorageTask) Type() string           { return "STORAGE_TASK" }
func (TaskAgree) Type() string             { return "TASK_AGREE" }
func (TaskRefuse) Type() string            { return "TASK_REFUSE" }
func (Want) Type() string                  { return "WANT" }
func (StorageApply) Type() string          { return "STORAGE_APPLY" }
func (StorageAgree) Type() string          { return "STORAGE_AGREE" }
func (StorageRefuse) Type() string         { return "STORAGE_REFUSE" }
func (TransmissionBegin) Type() string     { return "TRANSMISSION_BEGIN" }
func (TransmissionComplete) Type() string  { return "TRANSMISSION_COMPLETE" }
func (TransmissionAbort) Type() string     { return "TRANSMISSION_ABORT" }
func (ProbeApply) Type() string            { return "PROBE_APPLY" }
func (LeaseRevise) Type() string           { return "LEASE_REVISE" }
func (GainApply) Type() string             { return "GAIN_APPLY" }
func (GainAgree) Type() string             { return "GAIN_AGREE" }
func (GainRefuse) Type() string            { return "GAIN_REFUSE" }
func (RefPut) Type() string                { return "REF_PUT" }
func (RefOK) Type() string                 { return "REF_OK" }
func (RefList) Type() string               { return "REF_LIST" }
func (RefGet) Type() string                { return "REF_GET" }
func (RefReport) Type() string             { return "REF_REPORT" }
func (Release) Type() string               { return "RELEASE" }
func (ReleaseDone) Type() string           { return "RELEASE_DONE" }
func (Audit) Type() string                 { return "AUDIT" }
func (AuditProof) Type() string            { return "AUDIT_PROOF" }
func (AuditRefuse) Type() string           { return "AUDIT_REFUSE" }
func (Handover) Type() string              { return "HANDOVER" }
func (HandoverDone) Type() string          { return "HANDOVER_DONE" }
func (Countersigned) Type() string         { return "COUNTERSIGNED" }

// Predicted is how long the flows to a node take at the rates of the bandwidth table, in seconds.
func (m StorageTask) Predicted(to core.ID) (seconds float64) {
	for _, row := range m.Bandwidth {
		if row.To == to && row.Rate > 0 {
			seconds = max(seconds, row.Rate.Payload().Seconds(row.Bytes))
		}
	}
	return seconds
}
