// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/proto"
)

// EventToProto is what a notifier is told, as bkp sends it.
func EventToProto(e core.Event) *proto.Event {
	out := &proto.Event{What: e.What, Time: e.Time, Node: e.Node[:], Subject: e.Subject, Text: Clean(e.Text),
		Copies: int64(e.Copies), Wanted: int64(e.Wanted)}
	if !e.Peer.IsZero() {
		out.Peer = e.Peer[:]
	}
	return out
}

// EventFromProto is what a notifier is told, on the author's side.
func EventFromProto(e *proto.Event) (core.Event, error) {
	out := core.Event{What: e.What, Time: e.Time, Subject: e.Subject, Text: e.Text, Copies: int(e.Copies),
		Wanted: int(e.Wanted)}
	if len(e.Node) != len(out.Node) || len(e.Peer) != 0 && len(e.Peer) != len(out.Peer) {
		return out, fmt.Errorf("an ID has %d bytes, got %d and %d", len(out.Node), len(e.Node), len(e.Peer))
	}
	copy(out.Node[:], e.Node)
	copy(out.Peer[:], e.Peer)
	return out, nil
}
