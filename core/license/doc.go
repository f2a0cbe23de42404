// SPDX-License-Identifier: Apache-2.0

// Package license holds the signed words between an owner and those who keep its runs: licences, and the receipts
// that answer them.
//
// # Licences
//
// A licence (core.License) says that targets may keep the runs of one segment of one task, for whom, until when
// and how much. It is a DSSE envelope: a JSON object {payloadType, payload, signatures} whose single Ed25519
// signature covers type and payload; keyid is the signer's ID. The payload is JSON
//
//	{v, id, task, segment, task_source: {owner, node}, targets, spares, carriers, op, root, max_bytes, max_runs,
//	 not_before, expires, retain_until, key, delegation}
//
// with ids in hex, IDs in base32, key and delegation in base64, times in Unix seconds; spares, carriers and delegation
// may be left out. Everything is read strictly: exact names, no duplicates, nothing unknown, one value. There are three
// steps, each pure:
//
//   - [Open]: is it well formed, and signed by the key that it carries?
//   - [Check]: may that key speak for the owner (it is the owner's, or that of the source, with the owner's delegation to
//     write), may this peer show it (the source, or a carrier), is this node named, is it the day, are these the
//     runs, and no more of them than allowed? Dates stretch by core.ClockSkew both ways.
//   - [CheckBound]: was its id accepted before, for other runs? The node keeps what each id is bound to.
//
// Whether that owner may store here at all is for the node's verifiers. Each broken rule is a [Refusal] that names it.
//
// # Receipts
//
// A receipt (core.Receipt) is a target's word, given after a durable barrier, that it keeps runs of a licence: JSON
//
//	{v, license, task, segment, target, runs: [{start, length}], bytes, retain_until, previous, time, key}
//
// in an envelope of its own type, so that neither passes for the other. Runs ascend and do not overlap. A target's
// receipts for one licence form a chain: previous is the BLAKE3 of the envelope before, zero for the first. So an
// envelope of a receipt has exactly one spelling, and any other is refused.
//
// # Countersignatures
//
// A countersignature (core.Countersigned) is the word of the owner's side that a receipt came, and with it those before
// it in its chain: JSON {v, license, receipt, owner, time, key, delegation}, in an envelope of its own type. The owner
// signs it, or the source that its licence names, with the owner's delegation to write or to keep.
package license
