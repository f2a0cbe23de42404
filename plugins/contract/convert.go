// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/proto"
)

// StrategyToProto is what a strategy says it is, as the author's side sends it.
func StrategyToProto(i core.StrategyInfo) *proto.StrategyDescription {
	return &proto.StrategyDescription{Name: i.Name, Version: i.Version, Summary: i.Summary, Needs: i.Needs,
		Deterministic: i.Deterministic, OwnsFirstHolder: i.OwnsFirstHolder, Settings: SettingsToProto(i.Settings)}
}

// StrategyFromProto is what a strategy said it is.
func StrategyFromProto(d *proto.StrategyDescription) core.StrategyInfo {
	return core.StrategyInfo{Name: d.GetName(), Version: d.GetVersion(), Summary: d.GetSummary(), Needs: d.GetNeeds(),
		Deterministic: d.GetDeterministic(), OwnsFirstHolder: d.GetOwnsFirstHolder(),
		Settings: SettingsFromProto(d.GetSettings())}
}

// SettingsToProto is what a plugin can be configured with, as the author's side sends it.
func SettingsToProto(settings []core.Setting) (out []*proto.Setting) {
	for _, s := range settings {
		out = append(out, &proto.Setting{Key: s.Key, Type: s.Type, Default: s.Default, About: s.About})
	}
	return out
}

// SettingsFromProto is what a plugin said that it can be configured with, fit for a person's terminal.
func SettingsFromProto(settings []*proto.Setting) (out []core.Setting) {
	for _, s := range settings {
		out = append(out, core.Setting{Key: Clean(s.GetKey()), Type: Clean(s.GetType()), Default: Clean(s.GetDefault()),
			About: Clean(s.GetAbout())})
	}
	return out
}

// BatchToProto is a question, as bkp sends it to a strategy that needs these columns.
func BatchToProto(b core.Batch, needs []string) *proto.Batch {
	b = Needed(b, needs)
	out := &proto.Batch{Objective: b.Objective, Seed: b.Seed, FileSize: int64(b.File.Size),
		RunSize:  int64(b.File.RunSize),
		Replicas: int64(b.Replicas), Nodes: nodesToProto(b.Nodes), Links: &proto.Links{}}
	for _, c := range b.File.Classes {
		out.Classes = append(out.Classes, &proto.Class{Count: int64(c.Count), Size: int64(c.Size),
			Holders: ints[int64](c.Holders)})
	}
	for _, l := range b.Links {
		out.Links.From = append(out.Links.From, int64(l.From))
		out.Links.To = append(out.Links.To, int64(l.To))
		out.Links.Rate = append(out.Links.Rate, int64(l.Rate))
	}
	for _, t := range b.Trunks {
		out.Trunks = append(out.Trunks, &proto.Trunk{From: t.From, To: t.To, Rate: int64(t.Rate)})
	}
	return out
}

func nodesToProto(n core.NodeColumns) *proto.Nodes {
	out := &proto.Nodes{Id: n.ID, Zone: n.Zone, Free: ints[int64](n.Free), Total: ints[int64](n.Total),
		Uplink:   ints[int64](n.Uplink),
		Downlink: ints[int64](n.Downlink), Link: ints[int64](n.Link), Delay: n.Delay, PriceStore: n.PriceStore,
		PriceSend:     n.PriceSend,
		AnnualFailure: n.AnnualFailure, Uptime: n.Uptime, Load: n.Load}
	for _, labels := range n.Labels {
		out.Labels = append(out.Labels, &proto.Labels{Label: labels})
	}
	if len(n.Numbers) > 0 {
		out.Numbers = map[string]*proto.Numbers{}
	}
	for name, column := range n.Numbers {
		out.Numbers[name] = &proto.Numbers{At: column}
	}
	return out
}

// BatchFromProto is the author's side: it spares an author checks of indexes and column lengths.
func BatchFromProto(b *proto.Batch) (core.Batch, error) {
	nodes := nodesFromProto(b.GetNodes())
	out := core.Batch{Objective: b.GetObjective(), Seed: b.GetSeed(), Replicas: int(b.GetReplicas()), Nodes: nodes,
		File: core.BatchFile{Size: core.Size(b.GetFileSize()), RunSize: core.Size(b.GetRunSize())}}
	if err := CheckColumns(nodes); err != nil {
		return out, err
	}
	candidate := func(i int64) bool { return i >= 0 && i < int64(nodes.Len()) }
	for _, c := range b.GetClasses() {
		for _, h := range c.Holders {
			if !candidate(h) {
				return out, fmt.Errorf("holder %d of %d candidates", h, nodes.Len())
			}
		}
		out.File.Classes = append(out.File.Classes, core.BatchClass{Count: int(c.Count), Size: core.Size(c.Size),
			Holders: ints[int](c.Holders)})
	}
	links := b.GetLinks()
	if len(links.GetTo()) != len(links.GetFrom()) || len(links.GetRate()) != len(links.GetFrom()) {
		return out, fmt.Errorf("columns of links differ in length")
	}
	for i, from := range links.GetFrom() {
		if !candidate(from) || !candidate(links.To[i]) {
			return out, fmt.Errorf("link %d to %d of %d candidates", from, links.To[i], nodes.Len())
		}
		out.Links = append(out.Links, core.BatchLink{From: int(from), To: int(links.To[i]),
			Rate: core.Rate(links.Rate[i])})
	}
	for _, t := range b.GetTrunks() {
		out.Trunks = append(out.Trunks, core.BatchTrunk{From: t.From, To: t.To, Rate: core.Rate(t.Rate)})
	}
	return out, nil
}

func nodesFromProto(n *proto.Nodes) core.NodeColumns {
	out := core.NodeColumns{ID: n.GetId(), Zone: n.GetZone(), Free: ints[core.Size](n.GetFree()),
		Total:  ints[core.Size](n.GetTotal()),
		Uplink: ints[core.Rate](n.GetUplink()), Downlink: ints[core.Rate](n.GetDownlink()),
		Link:  ints[core.Rate](n.GetLink()),
		Delay: n.GetDelay(), PriceStore: n.GetPriceStore(), PriceSend: n.GetPriceSend(),
		AnnualFailure: n.GetAnnualFailure(),
		Uptime:        n.GetUptime(), Load: n.GetLoad()}
	for _, labels := range n.GetLabels() {
		out.Labels = append(out.Labels, labels.GetLabel())
	}
	if len(n.GetNumbers()) > 0 {
		out.Numbers = map[string][]float64{}
	}
	for name, column := range n.GetNumbers() {
		out.Numbers[name] = column.GetAt()
	}
	return out
}

// ScoresToProto is an answer, as the author's side sends it.
func ScoresToProto(s core.Scores) *proto.Scores {
	return &proto.Scores{Allow: s.Allow, PlaceCost: s.PlaceCost, TargetWeight: s.TargetWeight,
		QuotaCap:          ints[int64](s.QuotaCap),
		FirstHolderWeight: s.FirstHolderWeight, SpreadLevel: s.Spread.Level, SpreadMax: int64(s.Spread.Max),
		Explain:  s.Explain,
		Replicas: int64(s.Redundancy.Replicas), ReplicasWhy: s.Redundancy.Why, Objective: s.Objective}
}

// ScoresFromProto is an answer as it came; CheckScores tells whether it is one.
func ScoresFromProto(s *proto.Scores) core.Scores {
	return core.Scores{Allow: s.GetAllow(), PlaceCost: s.GetPlaceCost(), TargetWeight: s.GetTargetWeight(),
		QuotaCap: ints[core.Size](s.GetQuotaCap()), FirstHolderWeight: s.GetFirstHolderWeight(),
		Spread:     core.Spread{Level: s.GetSpreadLevel(), Max: int(s.GetSpreadMax())},
		Redundancy: core.Redundancy{Replicas: int(s.GetReplicas()), Why: s.GetReplicasWhy()},
		Objective:  s.GetObjective(), Explain: s.GetExplain()}
}

// RequestToProto is a question to a verifier, as bkp sends it.
func RequestToProto(r core.VerifyRequest) *proto.VerifyRequest {
	return &proto.VerifyRequest{Envelope: r.Envelope, Payload: r.Payload, Op: r.Op, Node: r.Node[:], Peer: r.Peer[:],
		TokenMember: r.TokenMember, UsedBytes: int64(r.UsedBytes), AddedBytes: int64(r.AddedBytes), Now: r.Now}
}

// RequestFromProto is a question to a verifier, on the author's side.
func RequestFromProto(r *proto.VerifyRequest) (core.VerifyRequest, error) {
	out := core.VerifyRequest{Envelope: r.Envelope, Payload: r.Payload, Op: r.Op, TokenMember: r.TokenMember,
		UsedBytes: core.Size(r.UsedBytes), AddedBytes: core.Size(r.AddedBytes), Now: r.Now}
	if len(r.Node) != len(out.Node) || len(r.Peer) != len(out.Peer) {
		return out, fmt.Errorf("an ID has %d bytes, got %d and %d", len(out.Node), len(r.Node), len(r.Peer))
	}
	copy(out.Node[:], r.Node)
	copy(out.Peer[:], r.Peer)
	return out, nil
}

// ints converts a column of one integer type to another; an empty column stays nil.
func ints[To, From ~int | ~int64](column []From) []To {
	if len(column) == 0 {
		return nil
	}
	out := make([]To, len(column))
	for i, v := range column {
		out[i] = To(v)
	}
	return out
}
