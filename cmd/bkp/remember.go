package main

import (
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// withoutUnfit leaves out of remembered peers those that are of no use here: this machine itself, where the identity
// came to one of its own peers, and those that are reached without encryption only, unless that is allowed.
func (c *call) withoutUnfit(peers []core.Peer, self core.ID, listen string) []core.Peer {
	return slices.DeleteFunc(peers, func(p core.Peer) bool {
		plain := p.Scheme == "ws" && !c.Bool("insecure-plaintext")
		if plain {
			c.Say("warning: the peer %s is not asked: ws:// is not encrypted, and --insecure-plaintext was not given",
				p.Address())
		}
		return plain || core.RefuseSelf([]core.Peer{p}, self, listen) != nil
	})
}
