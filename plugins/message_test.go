// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

func digest(v any) string { return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%+v", v))) }

// A plugin is asked exactly what the host was.
func TestNothingIsLostOnTheWay(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-strategy-echo", "bkp-verifier-echo")
	s, err := h.Strategy(t.Context(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for seed := range uint64(100) {
		batch := plugintest.Batch(seed, 1+int(seed)%12)
		batch.Trunks = []core.BatchTrunk{{From: "home", To: "office", Rate: 7}}
		batch.File.Classes[0].Holders = []int{batch.Nodes.Len() - 1}
		scores, err := s.Score(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		if want := digest(batch); scores.Explain[0] != want {
			t.Fatalf("the plugin was asked something else than %+v", batch)
		}
	}
	v, err := h.Verifier(t.Context(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	req := plugintest.Request(plugintest.Owner, nil)
	req.UsedBytes, req.AddedBytes = 5, 6
	if verdict, err := v.Verify(t.Context(), req); err != nil || verdict.Reason != digest(req) {
		t.Errorf("the plugin was asked something else than %+v: %v", req, err)
	}
}

// Indexes and columns that do not fit are caught before an author's code sees them.
func TestBatchThatDoesNotFit(t *testing.T) {
	t.Parallel()
	h := misbehaving(t, "bkp-strategy-echo")
	s, err := h.Strategy(t.Context(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nodes := core.NodeColumns{ID: []string{"a", "b"}}
	for want, batch := range map[string]core.Batch{
		"column free has 1 entries for 2 candidates": {Nodes: core.NodeColumns{ID: nodes.ID, Free: []core.Size{1}}},
		"column carbon has 1 entries for 2 candidates": {Nodes: core.NodeColumns{ID: nodes.ID,
			Numbers: map[string][]float64{"carbon": {1}}}},
		"holder 2 of 2 candidates": {Nodes: nodes,
			File: core.BatchFile{Classes: []core.BatchClass{{Holders: []int{2}}}}},
		"link 0 to -1 of 2 candidates": {Nodes: nodes, Links: []core.BatchLink{{From: 0, To: -1}}},
	} {
		_, err := s.Score(t.Context(), batch)
		says(t, err, "strategy echo: price 2 nodes: "+want)
	}
}

func BenchmarkStart(b *testing.B) {
	h := misbehaving(b, "bkp-verifier-fine")
	for b.Loop() {
		v, err := h.Verifier(b.Context(), "fine")
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		v.Close()
		b.StartTimer()
	}
}

func BenchmarkVerify(b *testing.B) {
	h := misbehaving(b, "bkp-verifier-fine")
	v, err := h.Verifier(b.Context(), "fine")
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	req := plugintest.Request(plugintest.Owner, nil)
	for b.Loop() {
		if _, err := v.Verify(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// A thousand candidates on a full mesh, a million links.
func BenchmarkScore(b *testing.B) {
	h := misbehaving(b, "bkp-strategy-fine")
	s, err := h.Strategy(b.Context(), "fine")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var batch core.Batch
	for i := range 1000 {
		batch.Nodes.ID = append(batch.Nodes.ID, fmt.Sprintf("%052d", i))
		for j := range 1000 {
			batch.Links = append(batch.Links, core.BatchLink{From: i, To: j, Rate: 10 << 20})
		}
	}
	for b.Loop() {
		if _, err := s.Score(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
