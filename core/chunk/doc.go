// SPDX-License-Identifier: Apache-2.0

// Package chunk cuts content into chunks and seals them; opening is the inverse of sealing.
//
// # Secrets
//
// Everything here is keyed by the owner's dedup secret, 32 bytes. One owner's equal chunks seal to equal bytes, so they
// are stored once; two owners' equal chunks have nothing in common, and the sizes that cutting produces identify no
// file to somebody without the secret. Derived by BLAKE3 in its key derivation mode, with these contexts:
//
//	gear table    "bkp gear v1"         256 numbers of 64 bits, little-endian
//	Sk, chunks    "bkp seal v1 chunk"   32 bytes
//	Sk, nodes     "bkp seal v1 node"    32 bytes
//
// # Cutting by content
//
// h starts at 0 at the chunk's byte min; every byte b from there makes h = h<<1 + gear[b]. The chunk ends after b when
// the top n bits of h are zero: n is log2(avg)+2 for bytes before avg and log2(avg)−2 from there on (the normalised cut
// points of FastCDC), and it ends at max in any case. min is avg/4 and max is 4·avg. Only the last 64 bytes decide, so
// an insertion moves a few cuts and then the old ones return, and so the parts of a large content can be searched at
// once (Marks) and walked through after (NextMarked), with the same result.
//
// # Sealing
//
//	H      = keyed BLAKE3(Sk, plain), 64 bytes;  id = H[:32],  K = H[32:]
//	body   = plain (method 0), or plain compressed by zstd (method 1) where that is shorter
//	nonce  = 12 zero bytes (method 0), or 1 ‖ the first 11 bytes of keyed BLAKE3(DeriveKey("bkp nonce v1", K), body)
//	stored = version 1 ‖ method ‖ nonce ‖ AES-256-GCM(K, nonce, body, AAD = the 14 bytes before it ‖ kind in ASCII)
//	hash   = BLAKE3(stored)
//
// K fixes plain, hence method 0 may use one nonce for ever. A compressor's output depends on its level and version,
// hence method 1 draws its nonce from the body: one (K, nonce) never seals two messages. Whatever a later version adds
// to body or AAD must go into the nonce as well.
package chunk
