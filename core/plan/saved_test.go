// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/plan/saved"
	"pgregory.net/rapid"
)

// TestSavedIsCarriedOutAsItWas: through a file and over a snapshot in another order, each run still stands where it
// stood.
func TestSavedIsCarriedOutAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req := plan.DrawRequest(t)
		req.Relays = rapid.Bool().Draw(t, "relays")
		p, err := plan.Place(req)
		if err != nil {
			return
		}
		about := saved.About{Name: "f", Version: 3, Strategy: "seed"}
		file := saved.Of(about, req, p)
		data, err := file.Encode()
		if err != nil {
			t.Fatal(err)
		}
		read, err := saved.Read(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if again, _ := read.Encode(); !bytes.Equal(data, again) {
			t.Fatalf("read and written again:\n%s\n%s", data, again)
		}
		moved, order := shuffled(t, req)
		back, err := read.Carry(saved.Now{About: about, Snapshot: moved.Snapshot, Classes: moved.Classes})
		if err != nil {
			t.Fatal(err)
		}
		for c, spans := range back.Classes {
			for k, s := range spans {
				was := p.Classes[c][k]
				if s.Node != order[was.Node] || s.From != order[was.From] || s.Start != was.Start ||
					s.Length != was.Length {
					t.Fatalf("class %d span %d: %+v was %+v", c, k, s, was)
				}
			}
		}
		var bytes, wanted core.Size
		for _, row := range back.Nodes {
			bytes += row.Bytes
		}
		for _, row := range p.Nodes {
			wanted += row.Bytes
		}
		if bytes != wanted || len(back.Flows) != len(p.Flows) || back.PredictedS != p.PredictedS ||
			back.Replicas != req.Replicas {
			t.Fatalf("%d bytes of %d, %d flows of %d", bytes, wanted, len(back.Flows), len(p.Flows))
		}
		sent := func(flows []plan.Flow) (sum core.Size) {
			for _, f := range flows {
				sum += f.Bytes
			}
			return sum
		}
		if sent(back.Flows) != sent(p.Flows) || len(back.Relays) != len(p.Relays) {
			t.Fatalf("sends %s of %s, %d relays of %d", sent(back.Flows), sent(p.Flows), len(back.Relays),
				len(p.Relays))
		}
	})
}

// shuffled is a request whose nodes stand in another order, and where each went.
func shuffled(t *rapid.T, req plan.Request) (plan.Request, []int) {
	from := make([]int, len(req.Snapshot.Nodes))
	for i := range from {
		from[i] = i
	}
	from = rapid.Permutation(from).Draw(t, "order")
	to := make([]int, len(from))
	nodes := make([]core.NodeState, len(from))
	for at, i := range from {
		nodes[at], to[i] = req.Snapshot.Nodes[i], at
	}
	req.Snapshot.Nodes, req.Snapshot.Source = nodes, to[req.Snapshot.Source]
	req.Snapshot.Links = slices.Clone(req.Snapshot.Links)
	for k := range req.Snapshot.Links {
		l := &req.Snapshot.Links[k]
		l.From, l.To = to[l.From], to[l.To]
	}
	req.Classes = slices.Clone(req.Classes)
	for c := range req.Classes {
		var holders []int
		for _, h := range req.Classes[c].Holders {
			holders = append(holders, to[h])
		}
		req.Classes[c].Holders = holders
	}
	return req, to
}
