// SPDX-License-Identifier: Apache-2.0

// Package link keeps this node's authenticated sessions with its peers.
//
// A Hub listens and dials; for each peer it keeps one Session, whoever dialled it. A session is three WebSockets on the
// path /bkp with the subprotocol bkp.v2 or bkp.v1, the newer where both know it: a control socket, whose text messages
// are core/wire's, and two data sockets, whose binary messages are wire.Data, one for each direction. A data socket is
// dialled by the node that receives on it, since what a WebSocket client sends is masked, which costs both sides time;
// where the listener of the control socket does not reach the dialler in time, or there is nothing to reach, the
// dialler dials all three.
//
// # Who is there
//
// Over wss both sides show their node key in a self-signed certificate (TLS 1.3, no tickets), of which nothing but the
// key counts. On every socket HELLO goes out from the dialler, then from the listener, then AUTH in the same order;
// AUTH signs what binds it to this connection and these two nodes, and proves the cluster token where a node has one. A
// node is admitted when it proves the token, when its key is pinned (Config.Pins, or its ID is named in a dialled
// peer), or when Config.Admit says so. Who proved the token is pinned. Whoever is not admitted, or whose clock is more
// than core.ClockSkew off, is told why in the close frame.
//
// Over ws the same is said, bound to the two nonces: that shows who is meant to be there, and does not stop a man in
// the middle. A hub takes and dials ws only with Config.Plaintext.
//
// What may come of who has not proved itself is bounded: its first byte within 2 s, all of it within 10 s, a HELLO of
// 16 KiB and an AUTH of 64, both in a budget of memory that all sockets of the hub share (budget.go), and a place that
// is lost to a newer one where too many are at it (strangers.go).
//
// # One session a peer
//
// Both sides dial, in any order, with exponential backoff from 0.2 s to 10 s. Of two sessions with one node the one
// that the lower ID dialled stays; both ends decide alike, and the loser is told so. A node that started anew is known
// by its epoch and replaces what it left behind, as does one that dials a second time. What answers a ping was not left
// behind: two nodes run with one key, the session that was first stays, and the other node is refused and told why.
//
//	dialler                              listener
//	control: HELLO ─────────────────────►
//	         ◄───────────────────────── HELLO
//	         AUTH ──────────────────────►  admitted; claims the peer's place
//	         ◄───────────────────────── AUTH
//	claims the peer's place
//	data-receive: the same ────────────►  joins the session
//	joins the session  ◄──────────────── data-back: the same
//	data-send, where data-back did not come: the same ──►  joins the session
//	Handler.Up                           Handler.Up
//
// # While it lasts
//
// Control messages are queued and written by one goroutine; data messages are written by who calls SendData, in turns,
// and read into a pooled buffer that the handler may use during the call. The control socket is pinged every 5 s; three
// pings without an answer end the session, for whatever reason the network has. Whatever a peer does that it must not
// (a frame of the wrong kind, over a limit, a message that does not decode) ends the session, and the peer is told why:
// Closed carries the code and the words, at both ends.
package link
