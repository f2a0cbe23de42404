// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/sha256"

	"github.com/bkp-tool/bkp/core"
)

// samples holds one message of each type with every field set: the golden vectors, the fuzzers' seeds, and what the
// tables of bad messages start from.
func samples() []Message {
	id := func(s string) core.ID { return sha256.Sum256([]byte(s)) }
	hash := func(s string) core.Hash { return sha256.Sum256([]byte(s)) }
	task := core.TaskID{0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	file := core.File{Name: "mzxw6.3.0", Type: core.TypeFile, Order: 0, Hash: hash("run 0"), Size: 4194304}
	tree := core.File{Name: "mzxw6.3.1", Type: core.TypeDirectory, Order: 1, Hash: hash("run 1"), Size: 300}
	chunks := []core.Chunk{{Hash: hash("chunk 0"), Size: 262174}, {Hash: hash("chunk 1"), Size: 99}}
	labels := map[string]string{"zone": "attic"}
	key, sig, mac := make([]byte, 32), make([]byte, 64), make([]byte, 32)
	key[0], sig[0], mac[0] = 1, 2, 3
	return []Message{
		Hello{V: 1, Node: id("node"), Key: key, Nonce: hash("nonce"), Channel: ChannelControl,
			Epoch: 0x0123456789abcdef, Time: 1796000000, Listen: "n1.example:8001", Labels: labels},
		Auth{Proof: mac, Signature: sig, Delegations: [][]byte{[]byte("envelope")}},
		Delegation{Delegations: [][]byte{[]byte("envelope")}},
		BandwidthCoordination{Size: 20971520, Follows: true},
		StateQuery{Query: 1, Owner: id("owner"), Files: true, After: 5000, Limit: 1000},
		StateReport{
			Query: 1, Remaining: 1 << 40, Capacity: 2 << 40, FileCount: 2, Files: []core.File{file, tree}, More: true,
			Accounts: []core.Account{{Name: "up", Capacity: 1 << 20, Leased: 1 << 19}}, Up: 1 << 20, Down: 1 << 21,
			Load: 0.25, Labels: labels,
			Links: []LinkReport{{ID: id("n2"), Address: "n2:8001", Labels: labels, Capacity: 1 << 20, DelayMS: 1.5,
				Measured: 1 << 19, Ahead: core.Forecast{{Rate: 1 << 20}, {After: 3600, Rate: 1 << 21}},
				Theirs: 1 << 22}},
			UpAhead:   core.Forecast{{Rate: 1 << 20}, {After: 3600, Rate: 1 << 21}},
			DownAhead: core.Forecast{{}, {After: 60, Rate: 1 << 21}},
		},
		StorageTask{
			Task: task, Segment: 2, Alias: "mzxw6", Version: 3, Files: []core.File{file, tree},
			Reused:    []core.Reused{{File: file, Task: core.TaskID{1}, Chunks: core.Bitmap{3}}},
			Locations: []core.Span{{Node: id("n2"), From: id("node"), Start: 0, Length: 3}},
			Bandwidth: []BandwidthRow{{From: id("node"), To: id("n2"), Rate: 1 << 20, Bytes: 4194604}},
			License:   []byte("licence"),
		},
		TaskAgree{Task: task, Segment: 2, PredictedS: 12.5, Have: core.Bitmap{1}},
		TaskRefuse{Task: task, Segment: 2, Code: core.ReasonLicense, Reason: "licence expired 2026-11-01"},
		Want{Task: task, Segment: 2, Had: []core.Range{{Start: 0, Length: 2}},
			Wanted: []core.Range{{Start: 3, Length: 1}}, Coming: []core.Range{{Start: 5, Length: 4}}, Need: 8388608,
			Down: 1 << 21},
		StorageApply{Flow: 7, Task: task, Segment: 2, Filename: "mzxw6.3.0", Size: 4194604, Rate: 1 << 20,
			Runs: []core.Range{{Start: 0, Length: 2}, {Start: 5, Length: 1}}},
		StorageAgree{Flow: 7, Lease: 9, Rate: 1 << 19, Runs: []core.Range{{Start: 0, Length: 1}},
			Have: []core.Range{{Start: 1, Length: 1}}, ExpiresS: 30},
		StorageRefuse{Flow: 7, Code: core.ReasonBusy, Reason: "no bandwidth free", RetryS: 2,
			Have: []core.Range{{Start: 1, Length: 1}}},
		TransmissionBegin{Transfer: 11, Flow: 7, Lease: 9, Task: task, Segment: 2, Run: 1, Hash: hash("run 1"),
			Chunks: chunks},
		TransmissionComplete{Transfer: 11, Run: 1, Received: true, HeldS: 0.25, Task: task, Segment: 2},
		TransmissionAbort{Flow: 7, Transfer: 11, Code: core.ReasonCorrupt, Reason: "chunk 1 does not match its hash"},
		ProbeApply{Flow: 12, Rate: 1 << 20, Size: 1 << 16, Runs: 32},
		LeaseRevise{Flow: 7, Lease: 9, Rate: 1 << 18},
		GainApply{Flow: 8, Owner: id("owner"), Name: "mzxw6", Rate: 1 << 20,
			Runs: []GainRun{{Hash: hash("run 0"), Chunks: core.Bitmap{1}}, {Hash: hash("run 1")}}},
		GainAgree{Flow: 8, Lease: 10, Rate: 1 << 20, Runs: []core.Hash{hash("run 0")},
			Missing: []core.Hash{hash("run 1")}, ExpiresS: 30},
		GainRefuse{Flow: 8, Code: core.ReasonUnknown, Reason: "no such run", RetryS: 1,
			Missing: []core.Hash{hash("run 1")}},
		RefPut{Query: 2, Owner: id("owner"), Alias: "mzxw6", Version: 3, Task: task, Record: hash("record"), Size: 10,
			Offset: 4, Data: []byte("record")},
		RefOK{Query: 2, Code: core.ReasonSpace, Reason: "no room"},
		RefList{Query: 3, Owner: id("owner"), After: 1, Limit: 100},
		RefGet{Query: 4, Owner: id("owner"), Alias: "mzxw6", Version: 3, Record: hash("record"), Offset: 1 << 20},
		RefReport{Query: 4, Code: core.ReasonNone, Reason: "x", Refs: [][]byte{[]byte("ref")}, More: true, Size: 10,
			Data: []byte("record")},
		Release{Query: 5, Envelope: []byte("envelope")},
		ReleaseDone{Query: 5, Code: core.ReasonNone, Reason: "x", Runs: 3, Bytes: 8388608},
		Relay{Route: []core.ID{id("n1"), id("n2"), id("n3")}, Key: key, Signature: sig, Time: 1796000000,
			Message: []byte("message")},
	}
}

// grown holds the messages that have something which version 1 does not have, each with all of it set.
func grown() (messages []Message) {
	id := func(s string) core.ID { return sha256.Sum256([]byte(s)) }
	for _, m := range samples() {
		switch m := m.(type) {
		case Hello:
			m.V, m.Features = Version2, []Feature{FeatureDegraded, FeatureRefs2}
			messages = append(messages, m)
		case StorageTask:
			m.Guide = core.GuideRuns
			messages = append(messages, m)
		case StateReport:
			m.Degraded = []string{"holdings.db was lost", "verifier signature does not answer"}
			messages = append(messages, m)
		case RefPut:
			m.Location = core.Hash{5}
			messages = append(messages, m)
		case Release:
			m.Tombstone = []byte("tombstone")
			messages = append(messages, m)
		case RefReport:
			m.Tombstones = [][]byte{[]byte("tombstone")}
			m.Location = core.Chunk{Hash: core.Hash{5}, Size: 500}
			messages = append(messages, m)
		}
	}
	head := Head{Size: 7, Root: core.Hash(id("root")), Key: make([]byte, 32), Signature: make([]byte, 64)}
	ranges := []core.AuditedRange{{Run: 3, Chunk: 1, Offset: 4096}, {Run: 7}}
	return append(messages,
		Join{Invite: core.Nonce{0xbb, 1}, Proof: append([]byte{3}, make([]byte, 31)...)},
		Revoked{Lists: [][]byte{[]byte("list 0"), []byte("list 1")}},
		Heads{Own: head, From: 4, Proof: []core.Hash{{1}, {2}}, Kept: []Head{head}},
		Joined{Token: []byte("a token"), Peers: []string{"wss://n2.example:8001"}, Labels: map[string]string{"zone": "attic"},
			Quota: 1 << 40},
		Audit{Query: 6, Challenge: core.Challenge{Owner: id("owner"), Task: core.TaskID{0xaa, 1}, Segment: 2,
			Nonce: core.Hash(id("nonce")), Ranges: ranges}},
		AuditProof{Query: 6, Proof: core.Proof{Slices: [][]byte{[]byte("slice 0"), []byte("slice 1")},
			Key: make([]byte, 32), Signature: make([]byte, 64)}},
		AuditRefuse{Query: 6, Code: core.ReasonUnknown, Reason: "run 3 is gone", RetryS: 2,
			Lost: []core.Range{{Start: 3, Length: 1}}},
		Handover{Query: 7, Envelope: []byte("handover")},
		HandoverDone{Query: 7, Code: core.ReasonUnknown, Reason: "x", Receipt: []byte("receipt"), Copies: 2},
		Countersigned{Receipt: []byte("receipt"), Envelope: []byte("countersignature")})
}

// spare holds the other forms of messages that have two.
func spare() []Message {
	hash := func(s string) core.Hash { return sha256.Sum256([]byte(s)) }
	return []Message{
		TransmissionComplete{Task: core.TaskID{1}, To: sha256.Sum256([]byte("node")), Receipt: []byte("receipt")},
		RefPut{Owner: core.ID{1}, Alias: "mzxw6", Version: 1, Task: core.TaskID{1}, Ref: []byte("ref"),
			Records: []core.Chunk{{Hash: hash("record"), Size: 1 << 20}}},
		StateReport{},
		BandwidthCoordination{},
		TaskAgree{Task: core.TaskID{1}, Have: core.Bitmap{}},
	}
}
