// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/scenariotest"
)

// TestRebalance reads testdata/rebalance/*.txt, in the words of TestScenarios and
//
//	cost NAME PRICE [total=MIB]   what a byte costs there, and all of its space; its room is what is free of it
//	rebalance                     who is relieved is drained from then on, and others than targets are barred
func TestRebalance(t *testing.T) {
	scenariotest.Each(t, "testdata/rebalance/*.txt", func(t *testing.T, file string) {
		s := &balancing{script: newScript(), offers: map[core.ID]Offer{}}
		scenariotest.Play(t, file, s.line, s.next)
	})
}

type balancing struct {
	*script
	offers map[core.ID]Offer
	said   strings.Builder
}

func (s *balancing) line(words []string) error {
	switch words[0] {
	case "cost":
		o := Offer{Takes: true}
		mib := 0
		_, err := fmt.Sscan(words[2], &o.Price)
		if len(words) > 3 {
			_, err = fmt.Sscanf(words[3], "total=%d", &mib)
		}
		o.Total = core.Size(mib) * core.MiB
		s.offers[id(words[1])] = o
		return err
	case "rebalance":
		var offers []Offer
		for _, m := range s.nodes {
			o := s.offers[m.ID]
			o.Free = m.room
			offers = append(offers, o)
		}
		relieved, targets := Rebalance(s.known, s.network(), offers)
		for _, r := range relieved {
			fmt.Fprintf(&s.said, "%s leaves, with %s: %s\n", name(r.Node), r.Bytes, r.Why)
			s.named(name(r.Node)).Drained = true
		}
		for i, m := range s.nodes {
			if !targets[i] {
				m.Barred = "it is no target"
			}
		}
		return nil
	}
	return s.script.line(words)
}

func (s *balancing) next() string {
	defer s.said.Reset()
	return s.said.String() + s.script.next()
}
