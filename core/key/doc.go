// Package key holds who signs and who may: key pairs, owners, delegations, refs and releases.
//
// # Keys and envelopes
//
// Every party is an Ed25519 key pair; its ID is the BLAKE3-256 digest of the public key. Whatever is signed travels
// as a DSSE envelope, a JSON object {payloadType, payload, signatures}: the signature covers the payload's type as well as its
// bytes, so a release can never pass for a delegation. bkp's envelopes bear exactly one signature, whose keyid is
// the signer's ID, and every payload carries the signer's public key as "key", so an envelope can be checked by anyone who knows
// nothing but the ID it should come from.
//
//	payload type                               payload                                                 signed by
//	application/vnd.bkp.delegation.v1+json     {v, owner, node, rights, expires, key}                  the owner
//	application/vnd.bkp.release.v1+json        {v, owner, task, alias, version, time, key, delegation} the owner, or a delegate with "release"
//	application/vnd.bkp.ref.v1+cbor            {v, owner, alias, version, prev, created, body, key, delegation}
//	                                                                                                   the owner, or a delegate with "write"
//
// JSON payloads are read strictly: exact names, no duplicates, nothing unknown, one value. CBOR payloads are in
// core deterministic form and no other. A delegate's payload carries its delegation, which is itself an envelope.
//
// # Owners
//
// An [Owner] is whose files they are. The identity file is JSON {v, owner_seed, age_identity, dedup_secret, peers}, seed and
// secret in base64, under a passphrase where one is set (then an armored age file, scrypt). From the seed comes the key
// that signs; from the age identity, who can read refs; from the dedup secret, every key that seals chunks
// and the aliases under which peers know names.
//
// # Refs
//
// A [Ref] is the sealed pointer to one version of a name. What peers need lies open: owner, alias, version and
// prev, the BLAKE3 of the previous version's envelope, which chains versions so that forks and gaps show. What they must not
// read is the body: CBOR {v, name, root, size, task, records}, encrypted with age to the owner. A sealed chunk inside
// it is the array [hash, size, key, plain size]. Since envelopes are pointed to by hash, a ref's envelope
// has one spelling only: the one that [Signer.SignRef] makes.
package key
