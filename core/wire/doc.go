// SPDX-License-Identifier: Apache-2.0

// Package wire is the language of the network: the messages that nodes exchange, and their bytes. PROTOCOL.md tells it
// to who writes it anew, every member of every message with it.
//
// # Conversation
//
// Between two nodes stand one control socket and two data sockets. On each, both sides introduce themselves in this
// order and nothing else is heard before it is done:
//
//	dialler → listener   HELLO   who I am, a nonce, the channel
//	listener → dialler   HELLO
//	dialler → listener   AUTH    proof and signature over what binds them to this very connection
//	listener → dialler   AUTH
//
// A new node that was given an invite opens its socket, which must be wss, for the channel "join". In place of AUTH it
// sends JOIN, which proves the invite's secret by an HMAC over the same bytes as above, of SideJoin, and is answered by
// JOINED, or by a reason. What a stranger may say is that: HELLO, AUTH and JOIN.
//
// Both sign side ‖ binding ‖ dialler ID ‖ listener ID, where side is SideDial or SideListen; the proof is HMAC-SHA256
// of the same bytes under the cluster token. Over wss the binding is 32 bytes of the TLS exporter ExporterLabel; over
// ws it is both nonces, which proves who answered but does not stop a man in the middle.
//
// Then the messages below follow on the control socket, each a WebSocket text message; a data socket carries data
// messages, each binary (see Data). The other kind of frame is a protocol error on either.
//
// # Messages
//
//	type                    sent by                        to                     answered by
//	HELLO, AUTH             dialler, then listener         the other              the same
//	JOIN                    who has an invite              who made it            JOINED: the token, peers, labels
//	JOINED                  who was asked                  who asked
//	BANDWIDTH_COORDINATION  dialler, then listener         the other              the same: the smaller size is the link's capacity; later, by either: another figure
//	STATE_QUERY             coordinator, any node          any node               STATE_REPORT
//	STATE_REPORT            who was asked                  who asked
//	STORAGE_TASK            coordinator                    each target            TASK_AGREE or TASK_REFUSE, one segment each
//	TASK_AGREE, TASK_REFUSE target                         coordinator
//	WANT                    target; source (receipts)      neighbours in the task
//	STORAGE_APPLY           sender (source or relay)       target                 at once: STORAGE_AGREE or STORAGE_REFUSE
//	STORAGE_AGREE           target                         sender                 the only grant of bandwidth
//	STORAGE_REFUSE          target                         sender
//	TRANSMISSION_BEGIN      sender                         receiver               data messages follow on a data socket
//	TRANSMISSION_COMPLETE   receiver (received)            sender
//	TRANSMISSION_COMPLETE   target (receipt)               coordinator, directly or through the sender
//	TRANSMISSION_ABORT      sender or receiver             the other
//	PROBE_APPLY             any node                       any node               STORAGE_AGREE or STORAGE_REFUSE; then runs that are dropped
//	LEASE_REVISE            sender or receiver             the other                      less is left of the lease
//	GAIN_APPLY              who fetches                    holder                 GAIN_AGREE or GAIN_REFUSE
//	GAIN_AGREE, GAIN_REFUSE holder                         who fetches            after AGREE: a TRANSMISSION_BEGIN for each run
//	DELEGATION              who got an owner's identity    any node
//	HEADS                   any node, when it meets one    any neighbour                  HEADS, where one of its own was told
//	REVOKED                 who has lists of revocations   any neighbour
//	REF_PUT                 coordinator                    each target            REF_OK
//	REF_LIST, REF_GET       who lists or fetches           any node               REF_REPORT
//	REF_OK, REF_REPORT      who was asked                  who asked
//	RELEASE                 owner's node                   each holder            RELEASE_DONE; with a tombstone the version is removed
//	RELEASE_DONE            holder                         owner's node
//	AUDIT                   owner's node                   holder                 AUDIT_PROOF or AUDIT_REFUSE
//	AUDIT_PROOF             holder                         owner's node           slices of BLAKE3 trees, signed
//	AUDIT_REFUSE            holder                         owner's node
//	HANDOVER                owner's node                   coordinator to be, or that was HANDOVER_DONE
//	HANDOVER_DONE           coordinator                    owner's node           its receipt, and how many copies count
//	COUNTERSIGNED           coordinator                    target                 after its receipt; it is not answered
//	RELAY                   any node                       one it has no session with: one of the placement's messages, refs, RELEASE
//
// Requests carry a number of the asker's (query, flow, transfer) that the answer repeats.
//
// # Encoding
//
// A control message is one JSON object with a member "type". It is read strictly: exact names, nothing unknown,
// repeated or null, one value, valid UTF-8, at most MaxMessage bytes and MaxDepth levels. Hashes, nonces, epochs and
// IDs of tasks, licences are lower-case hex, node and owner IDs base32; keys, envelopes and bitmaps base64 (standard,
// padded); times Unix seconds, sizes bytes, rates bytes per second on the wire. testdata/golden holds one vector a
// message as version 1 writes it, and these never change; testdata/golden/v2 those that version 2 writes otherwise;
// testdata/release-*.jsonl what releases have said.
//
// # Versions and features
//
// A dialler offers the WebSocket subprotocols bkp.v2 and bkp.v1, and the listener takes the newest that it knows.
// Version 1 is what release d6aae67 speaks, and is frozen. In version 2 each HELLO lists the features of its node, and
// a feature is used where both sides list it. That is a session's Dialect: it reads and writes messages, leaves out
// what the other side does not know, and takes an unknown type or member for an error. Only where the other side lists
// a feature that this one lacks are they skipped, and counted.
//
// How to add something:
//
//	a feature   a constant and its place in Features, both in growth.go. Its name is new: what it stands for never changes.
//	a member    a field with the tag wire:"FEATURE", left out when empty. Who sends may always set it: a peer without the feature is
//	            sent the message without it. Members that came later are never needed to understand the rest.
//	a type      register[T](since(FeatureX)) in messages.go. Who sends asks first whether the peer has it (Session.Has).
//	a list      has the tag most:"NAME" with a name out of the table most in form.go.
//	a meaning   (as of refs of version 2) is a feature without members: who sends asks first.
//
// Then: Validate for what is in it, a sample in samples_test.go, and go test -update for its vector in golden/v2. What
// is sent inside RELAY is of version 1, since its two ends have not met: members that came later do not travel through
// others, and who asks by a later type of message may get no answer.
//
// # Limits
//
// Before anything is made of a message, a scanner holds its bytes against the form of its type: names, the items of
// every list, and what they take in memory, at most MaxGrowth bytes for each that was sent beside FreeMemory. Of who
// has not shown who it is only HELLO, AUTH and JOIN are read, at most MaxHello and MaxAuth bytes. Then each message has
// a Validate for what can be told from it alone (bounds.go names every limit); Encode and Decode call it. A segment has
// at most core.SegmentRuns runs, new and reused together, and a run at most MaxRunChunks chunks.
package wire
