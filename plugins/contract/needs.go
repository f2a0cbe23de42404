// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// Further is how a strategy names one of the columns in Numbers: numbers.NAME.
const Further = "numbers."

// columns takes a column of the candidates away, by the name under which a strategy needs it.
var columns = map[string]func(*core.Batch){
	"zone":           func(b *core.Batch) { b.Nodes.Zone = nil },
	"labels":         func(b *core.Batch) { b.Nodes.Labels = nil },
	"free":           func(b *core.Batch) { b.Nodes.Free = nil },
	"total":          func(b *core.Batch) { b.Nodes.Total = nil },
	"uplink":         func(b *core.Batch) { b.Nodes.Uplink = nil },
	"downlink":       func(b *core.Batch) { b.Nodes.Downlink = nil },
	"link":           func(b *core.Batch) { b.Nodes.Link = nil },
	"delay":          func(b *core.Batch) { b.Nodes.Delay = nil },
	"price_store":    func(b *core.Batch) { b.Nodes.PriceStore = nil },
	"price_send":     func(b *core.Batch) { b.Nodes.PriceSend = nil },
	"annual_failure": func(b *core.Batch) { b.Nodes.AnnualFailure = nil },
	"uptime":         func(b *core.Batch) { b.Nodes.Uptime = nil },
	"load":           func(b *core.Batch) { b.Nodes.Load = nil },
	"links":          func(b *core.Batch) { b.Links = nil },
}

// KnownNeed reports whether a strategy may need that.
func KnownNeed(need string) bool {
	return columns[need] != nil || need == "id" || need == "numbers" || strings.HasPrefix(need, Further)
}

// Needed is what of a question a strategy is told: the columns that it needs and "id"; where it names none, all columns
// and no links, of which there may be a million. A further column that it needs is there also where no candidate has
// such a label.
func Needed(b core.Batch, needs []string) core.Batch {
	if len(needs) == 0 {
		b.Links = nil
		return b
	}
	for name, take := range columns {
		if !slices.Contains(needs, name) {
			take(&b)
		}
	}
	if slices.Contains(needs, "numbers") {
		return b
	}
	all := b.Nodes.Numbers
	b.Nodes.Numbers = nil
	for _, need := range needs {
		name, further := strings.CutPrefix(need, Further)
		if !further {
			continue
		}
		if b.Nodes.Numbers == nil {
			b.Nodes.Numbers = map[string][]float64{}
		}
		if b.Nodes.Numbers[name] = all[name]; all[name] == nil { // no candidate has such a label
			b.Nodes.Numbers[name] = make([]float64, b.Nodes.Len())
		}
	}
	return b
}
