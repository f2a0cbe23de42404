// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

var channels = []string{ChannelControl, ChannelDataSend, ChannelDataReceive, ChannelDataBack, ChannelJoin}

// Validate checks what can be told from the message alone. What depends on leases, tasks or capacity is the node's to
// check.

func (m Hello) Validate() error {
	var b bounds
	b.within("v", int64(m.V), 1, maxNumber)
	b.id("node", m.Node)
	b.bytes("key", m.Key, ed25519.PublicKeySize, core.MaxPublicKey)
	b.must(!m.Nonce.IsZero(), "nonce is missing")
	b.must(slices.Contains(channels, m.Channel), "channel %.40q is unknown", m.Channel)
	b.must(m.V >= Version2 || m.Channel != ChannelJoin, "channel %q is of version 2", m.Channel)
	b.must(m.Epoch != 0, "epoch is missing")
	b.within("time", m.Time, 0, maxTime)
	b.text("listen", m.Listen, maxName)
	b.labels(m.Labels)
	b.count("features", len(m.Features), maxFeatures)
	for _, f := range m.Features {
		b.word("features", string(f))
		b.text("features", string(f), maxWord)
	}
	return b.err
}

func (m Auth) Validate() error {
	var b bounds
	if len(m.Proof) > 0 {
		b.bytes("proof", m.Proof, sha256.Size, sha256.Size)
	}
	b.bytes("signature", m.Signature, ed25519.SignatureSize, ed25519.SignatureSize)
	b.delegations(m.Delegations)
	return b.err
}

func (m Join) Validate() error {
	var b bounds
	b.must(!m.Invite.IsZero(), "invite is missing")
	b.bytes("proof", m.Proof, sha256.Size, sha256.Size)
	return b.err
}

func (m Joined) Validate() error {
	var b bounds
	b.bytes("token", m.Token, 1, maxToken)
	b.count("peers", len(m.Peers), MaxInvited)
	for _, p := range m.Peers {
		b.text("peers", p, 2*maxName)
	}
	b.labels(m.Labels)
	b.size("quota", m.Quota)
	return b.err
}

func (m Delegation) Validate() error {
	var b bounds
	b.delegations(m.Delegations)
	return b.err
}

func (b *bounds) delegations(envelopes [][]byte) {
	b.count("delegations", len(envelopes), maxProofs)
	for _, d := range envelopes {
		b.bytes("delegation", d, 1, maxSigned)
	}
}

func (m Revoked) Validate() error {
	var b bounds
	b.must(len(m.Lists) > 0, "lists is empty")
	b.count("lists", len(m.Lists), MaxRevoked)
	for _, l := range m.Lists {
		b.bytes("lists", l, 1, maxSigned)
	}
	return b.err
}

func (m Heads) Validate() error {
	var b bounds
	b.head("own", m.Own)
	b.within("from", m.From, 0, maxAmount)
	b.count("proof", len(m.Proof), maxProof)
	b.count("kept", len(m.Kept), MaxHeads)
	for _, h := range m.Kept {
		b.head("kept", h)
	}
	return b.err
}

func (b *bounds) head(field string, h Head) {
	b.within(field+": size", h.Size, 0, maxAmount)
	b.bytes(field+": key", h.Key, ed25519.PublicKeySize, core.MaxPublicKey)
	b.bytes(field+": signature", h.Signature, ed25519.SignatureSize, ed25519.SignatureSize)
}

func (m BandwidthCoordination) Validate() error {
	var b bounds
	b.capacity("size", m.Size)
	return b.err
}

func (m StateQuery) Validate() error {
	var b bounds
	b.number("after", m.After)
	b.within("limit", int64(m.Limit), 0, maxList)
	return b.err
}

func (m StateReport) Validate() error {
	var b bounds
	b.size("remaining", m.Remaining)
	b.size("capacity", m.Capacity)
	b.number("file_count", m.FileCount)
	b.count("files", len(m.Files), maxList)
	for _, f := range m.Files {
		b.file("files", f)
	}
	b.count("accounts", len(m.Accounts), maxList)
	for _, a := range m.Accounts {
		b.text("accounts: name", a.Name, maxName)
		b.capacity("accounts: capacity", a.Capacity)
		b.capacity("accounts: leased", a.Leased)
	}
	b.capacity("up", m.Up)
	b.capacity("down", m.Down)
	b.forecast("up_ahead", m.UpAhead)
	b.forecast("down_ahead", m.DownAhead)
	b.finite("load", m.Load)
	b.labels(m.Labels)
	b.count("links", len(m.Links), maxList)
	for _, l := range m.Links {
		b.id("links: id", l.ID)
		b.text("links: address", l.Address, maxName)
		b.labels(l.Labels)
		b.capacity("links: capacity", l.Capacity)
		b.finite("links: delay_ms", l.DelayMS)
		b.capacity("links: measured", l.Measured)
		b.forecast("links: ahead", l.Ahead)
		b.capacity("links: theirs", l.Theirs)
	}
	b.count("degraded", len(m.Degraded), MaxReasons)
	for _, why := range m.Degraded {
		b.must(why != "", "degraded: a reason that says nothing")
		b.text("degraded", why, MaxReason)
	}
	return b.err
}

func (m StorageTask) Validate() error {
	var b bounds
	b.task(m.Task)
	b.number("segment", m.Segment)
	b.word("alias", m.Alias)
	b.version(m.Version)
	runs := len(m.Files) + len(m.Reused)
	b.must(runs > 0, "the segment has no runs")
	b.count("file and reused", runs, maxRuns)
	for _, f := range m.Files {
		b.file("file", f)
	}
	for _, r := range m.Reused {
		b.file("reused", r.File)
		b.must(!r.Task.IsZero(), "reused: task is missing")
		b.bytes("reused: chunks", r.Chunks, 1, MaxRunChunks/8)
	}
	b.count("backup_location", len(m.Locations), maxList)
	for _, s := range m.Locations {
		b.id("backup_location: node", s.Node)
		b.id("backup_location: from", s.From)
		b.must(s.Start >= 0 && s.Length >= 1 && s.Length <= runs && s.Start <= runs-s.Length,
			"backup_location: start %d, length %d leaves the segment's %d runs", s.Start, s.Length, runs)
	}
	b.table("bandwidth", m.Bandwidth)
	b.count("trunks", len(m.Trunks), maxList)
	for _, t := range m.Trunks {
		b.text("trunks: from", t.From, maxName)
		b.text("trunks: to", t.To, maxName)
		b.lease("trunks: rate", t.Rate)
	}
	b.table("trunk_shares", m.TrunkShares)
	b.text("guide", string(m.Guide), maxWord)
	b.bytes("license", m.License, 1, MaxMessage)
	return b.err
}

func (b *bounds) table(field string, rows []BandwidthRow) {
	b.count(field, len(rows), maxList)
	for _, r := range rows {
		var of bounds
		of.id("from", r.From)
		of.id("to", r.To)
		of.capacity("rate", r.Rate)
		of.size("bytes", r.Bytes)
		if of.err != nil {
			b.fail("%s: %w", field, of.err)
		}
	}
}

func (m TaskAgree) Validate() error {
	var b bounds
	b.task(m.Task)
	b.number("segment", m.Segment)
	b.finite("predicted_s", m.PredictedS)
	b.bytes("have", m.Have, 0, maxRuns/8)
	return b.err
}

func (m TaskRefuse) Validate() error {
	var b bounds
	b.task(m.Task)
	b.number("segment", m.Segment)
	b.refusal(m.Code, m.Reason)
	return b.err
}

func (m Want) Validate() error {
	var b bounds
	b.task(m.Task)
	b.number("segment", m.Segment)
	b.ranges("had", m.Had)
	b.ranges("wanted", m.Wanted)
	b.ranges("coming", m.Coming)
	b.size("need", m.Need)
	b.capacity("down", m.Down)
	return b.err
}

func (m StorageApply) Validate() error {
	var b bounds
	b.task(m.Task)
	b.number("segment", m.Segment)
	b.word("filename", m.Filename)
	b.size("size", m.Size)
	b.lease("rate", m.Rate)
	b.ranges("runs", m.Runs)
	return b.err
}

func (m StorageAgree) Validate() error {
	var b bounds
	b.must(m.Lease != 0, "lease is missing")
	b.lease("rate", m.Rate)
	b.ranges("runs", m.Runs)
	b.ranges("have", m.Have)
	b.seconds("expires_s", m.ExpiresS)
	return b.err
}

func (m StorageRefuse) Validate() error {
	var b bounds
	b.refusal(m.Code, m.Reason)
	b.seconds("retry_s", m.RetryS)
	b.ranges("have", m.Have)
	return b.err
}

func (m TransmissionBegin) Validate() error {
	var b bounds
	b.number("segment", m.Segment)
	b.number("run", m.Run)
	b.must(len(m.Chunks) > 0, "chunks is empty")
	sum := b.chunks("chunks", m.Chunks, MaxStored)
	b.must(len(m.Chunks) <= 1 || sum <= core.MaxRun, "a run of %d bytes, %d are allowed", sum, core.MaxRun)
	return b.err
}

func (m TransmissionComplete) Validate() error {
	var b bounds
	b.number("run", m.Run)
	b.number("segment", m.Segment)
	b.must(m.Received != (len(m.Receipt) > 0), "neither received nor a receipt, or both")
	b.bytes("receipt", m.Receipt, 0, maxSigned)
	b.seconds("held_s", m.HeldS)
	if len(m.Receipt) > 0 {
		b.task(m.Task)
	}
	return b.err
}

func (m TransmissionAbort) Validate() error {
	var b bounds
	b.refusal(m.Code, m.Reason)
	return b.err
}

func (m ProbeApply) Validate() error {
	var b bounds
	b.lease("rate", m.Rate)
	b.within("runs", int64(m.Runs), 1, maxRuns)
	b.within("size", int64(m.Size), 1, int64(core.MaxRun))
	if b.err == nil {
		b.must(core.Size(m.Runs)*m.Size <= core.MaxProbe, "a probe of %d × %d bytes, %d are allowed", m.Runs, m.Size,
			core.MaxProbe)
	}
	return b.err
}

func (m LeaseRevise) Validate() error {
	var b bounds
	b.must(m.Lease != 0, "lease is missing")
	b.lease("rate", m.Rate)
	return b.err
}

func (m GainApply) Validate() error {
	var b bounds
	b.id("owner", m.Owner)
	if m.Name != "" {
		b.word("name", m.Name)
	}
	b.lease("rate", m.Rate)
	b.count("runs", len(m.Runs), maxRuns)
	for _, r := range m.Runs {
		b.bytes("runs: chunks", r.Chunks, 0, MaxRunChunks/8)
	}
	return b.err
}

func (m GainAgree) Validate() error {
	var b bounds
	b.must(m.Lease != 0, "lease is missing")
	b.lease("rate", m.Rate)
	b.count("runs", len(m.Runs), maxRuns)
	b.count("missing", len(m.Missing), maxRuns)
	b.seconds("expires_s", m.ExpiresS)
	return b.err
}

func (m GainRefuse) Validate() error {
	var b bounds
	b.refusal(m.Code, m.Reason)
	b.seconds("retry_s", m.RetryS)
	b.count("missing", len(m.Missing), maxRuns)
	return b.err
}

func (m RefPut) Validate() error {
	var b bounds
	b.id("owner", m.Owner)
	b.word("alias", m.Alias)
	b.version(m.Version)
	b.task(m.Task)
	b.must((len(m.Ref) > 0) != !m.Record.IsZero(), "neither a ref nor a piece of a record, or both")
	b.bytes("ref", m.Ref, 0, maxSigned)
	b.chunks("records", m.Records, maxRecord)
	b.within("size", int64(m.Size), 0, maxRecord)
	b.bytes("data", m.Data, 0, maxPiece)
	b.must(m.Offset >= 0 && m.Size-m.Offset >= core.Size(len(m.Data)),
		"a piece of %d bytes at %d leaves its record of %d", len(m.Data), m.Offset, m.Size)
	return b.err
}

func (m RefOK) Validate() error {
	var b bounds
	b.reason(m.Code, m.Reason)
	return b.err
}

func (m RefList) Validate() error {
	var b bounds
	b.id("owner", m.Owner)
	b.number("after", m.After)
	b.within("limit", int64(m.Limit), 0, maxList)
	return b.err
}

func (m RefGet) Validate() error {
	var b bounds
	b.id("owner", m.Owner)
	b.word("alias", m.Alias)
	b.number("version", m.Version)
	b.within("offset", int64(m.Offset), 0, maxRecord)
	return b.err
}

func (m RefReport) Validate() error {
	var b bounds
	b.reason(m.Code, m.Reason)
	b.count("refs", len(m.Refs), maxList)
	for _, r := range m.Refs {
		b.bytes("ref", r, 1, maxSigned)
	}
	b.within("size", int64(m.Size), 0, maxRecord)
	b.bytes("data", m.Data, 0, maxPiece)
	b.within("location", int64(m.Location.Size), 0, maxRecord)
	return b.err
}

func (m Release) Validate() error {
	var b bounds
	b.bytes("envelope", m.Envelope, 1, maxSigned)
	return b.err
}

func (m Handover) Validate() error {
	var b bounds
	b.bytes("envelope", m.Envelope, 1, maxSigned)
	return b.err
}

func (m HandoverDone) Validate() error {
	var b bounds
	b.reason(m.Code, m.Reason)
	b.bytes("receipt", m.Receipt, 0, maxSigned)
	b.number("copies", m.Copies)
	return b.err
}

func (m Countersigned) Validate() error {
	var b bounds
	b.bytes("receipt", m.Receipt, 1, maxSigned)
	b.bytes("envelope", m.Envelope, 1, maxCountersigned)
	return b.err
}

func (m ReleaseDone) Validate() error {
	var b bounds
	b.reason(m.Code, m.Reason)
	b.number("runs", m.Runs)
	b.size("bytes", m.Bytes)
	return b.err
}

func (m Audit) Validate() error {
	var b bounds
	b.id("owner", m.Owner)
	b.task(m.Task)
	b.number("segment", m.Segment)
	b.must(len(m.Ranges) > 0, "ranges is empty")
	b.count("ranges", len(m.Ranges), core.MaxAuditRanges)
	for _, r := range m.Ranges {
		b.within("ranges: run", int64(r.Run), 0, maxRuns-1)
		b.within("ranges: chunk", int64(r.Chunk), 0, MaxRunChunks-1)
		b.within("ranges: offset", int64(r.Offset), 0, int64(MaxStored))
	}
	return b.err
}

func (m AuditProof) Validate() error {
	var b bounds
	b.count("slices", len(m.Slices), core.MaxAuditRanges)
	for _, s := range m.Slices {
		b.bytes("slices", s, 1, maxSlice)
	}
	b.bytes("key", m.Key, ed25519.PublicKeySize, core.MaxPublicKey)
	b.bytes("signature", m.Signature, ed25519.SignatureSize, ed25519.SignatureSize)
	return b.err
}

func (m AuditRefuse) Validate() error {
	var b bounds
	b.refusal(m.Code, m.Reason)
	b.seconds("retry_s", m.RetryS)
	b.ranges("lost", m.Lost)
	return b.err
}
