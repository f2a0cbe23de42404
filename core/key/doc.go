// SPDX-License-Identifier: Apache-2.0

// Package key holds who signs and who may: key pairs, owners, delegations, refs and releases.
//
// # Keys and envelopes
//
// Every party is an Ed25519 key pair; its ID is the BLAKE3-256 digest of the public key. Whatever is signed travels
// as a DSSE envelope, a JSON object {payloadType, payload, signatures}: the signature covers the payload's type as well
// as its bytes, so a release can never pass for a delegation. bkp's envelopes bear exactly one signature, whose keyid
// is the signer's ID, and every payload carries the signer's public key as "key", so an envelope can be checked by
// anyone who knows nothing but the ID it should come from.
//
//	payload type                               payload                                                 signed by
//	application/vnd.bkp.delegation.v1+json     {v, owner, node, rights, alias, version, expires, key}  the owner
//	application/vnd.bkp.revocations.v1+json    {v, owner, sequence, time, nodes, licenses, key}        the owner alone
//	application/vnd.bkp.release.v1+json        {v, owner, task, alias, version, time, key, delegation} the owner, or a delegate with "release"
//	application/vnd.bkp.ref.v2+cbor            {v, owner, alias, version, content, prev, created, placed, body, key, delegation}
//	                                                                                                   the owner, or a delegate with "write"
//	application/vnd.bkp.ref.v1+cbor            {v, owner, alias, version, prev, created, body, key, delegation}
//	                                                                                                   the same
//
// JSON payloads are read strictly: exact names, no duplicates, nothing unknown, one value. CBOR payloads are in
// core deterministic form and no other. A delegate's payload carries its delegation, which is itself an envelope.
//
// # Owners
//
// An [Owner] is whose files they are. The identity file is JSON {v, owner_seed, age_identity, dedup_secret, peers},
// seed and secret in base64, under a passphrase where one is set (then an armored age file, scrypt). From the seed
// comes the key that signs; from the age identity, who can read refs; from the dedup secret, every key that seals
// chunks and the aliases under which peers know names.
//
// What an owner let a node do ends with its delegation, or earlier by [Revocations]: a list with a rising sequence,
// which nodes keep and tell each other. It stops whatever is new that a revoked node signs or asks, or that is shown
// under a revoked licence, and deletes nothing.
//
// A [Share] opens one version: it has that version's keys, and the key of a node to which the owner's delegation gives
// the right to read that version alone.
//
// A machine that is to back up and no more gets an identity that may only write ([Owner.Writer]): {v, owner, node_seed,
// delegation, recipient, dedup_secret, peers}, the key of a node of its own with the right to write, and the public
// half of the age identity. It cannot open what it seals, and so notes it ([Notes]): with the key of the content as
// long as that is on its disk, from when peers keep it with that key as the owner alone can open it ([Forget]): so a
// ref that it writes later still leads its owner to the content.
//
// Who is to read and no more, as one who keeps a key for the day on which the owner's is lost, gets an identity that may
// only read ([Owner.ReaderFor]): {v, owner, node_seed, delegation, age_identity, alias_secret, peers}. Refs are sealed
// to the owner and to up to 16 recipients more ([Owner.Recipients]), whose age keys these are: what was sealed before
// one was added it cannot open, and what was sealed before it was removed it still can.
//
// # Refs
//
// A [Ref] is the sealed pointer to one version of a name. What peers need lies open: owner, alias, version, content,
// the stored hash of the manifest's root, by which a holder tells that a version keeps its content, and prev, the
// content of the version before, which chains versions so that forks and gaps show. Created is when the content was
// split, whatever is done with the version later; rules of retention go by it. Placed is when the envelope was signed,
// and what a delegation is judged by. In refs of version 1 prev is the BLAKE3 of the previous version's envelope, and
// created, their only date, that of the signature: of several envelopes of one version the earliest known created is
// nearest the truth.
//
// What peers must not read is the body: CBOR {v, name, root, size, task, records}, encrypted with age to the owner and its recipients. A
// sealed chunk inside it is the array [hash, size, key, plain size]. Since envelopes are pointed to by hash, a ref's
// envelope has one spelling only: the one that [Signer.SignRef] makes.
package key
