// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"slices"

	"github.com/bkp-tool/bkp/plugins/strategies/cheapest"
	mostfree "github.com/bkp-tool/bkp/plugins/strategies/most-free"
	"github.com/bkp-tool/bkp/plugins/strategies/nearest"
	"github.com/bkp-tool/bkp/plugins/strategies/reliable"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
	zonespread "github.com/bkp-tool/bkp/plugins/strategies/zone-spread"
	"github.com/bkp-tool/bkp/plugins/verifiers/issuers"
	"github.com/bkp-tool/bkp/plugins/verifiers/signature"
	"github.com/bkp-tool/bkp/plugins/verifiers/targets"

	"github.com/bkp-tool/bkp/plugins"
)

// Shipped is every plugin inside the binary and what serves it. They run in processes of their own like any other.
var Shipped = map[plugins.Name]func(){
	{Kind: plugins.KindStrategy, Name: "seed"}:        func() { plugins.ServeStrategy(seed.New()) },
	{Kind: plugins.KindStrategy, Name: "nearest"}:     func() { plugins.ServeStrategy(nearest.New()) },
	{Kind: plugins.KindStrategy, Name: "most-free"}:   func() { plugins.ServeStrategy(mostfree.New()) },
	{Kind: plugins.KindStrategy, Name: "cheapest"}:    func() { plugins.ServeStrategy(cheapest.New()) },
	{Kind: plugins.KindStrategy, Name: "zone-spread"}: func() { plugins.ServeStrategy(zonespread.New()) },
	{Kind: plugins.KindStrategy, Name: "reliable"}:    func() { plugins.ServeStrategy(reliable.New()) },
	{Kind: plugins.KindVerifier, Name: "signature"}:   func() { plugins.ServeVerifier(signature.New()) },
	{Kind: plugins.KindVerifier, Name: "targets"}:     func() { plugins.ServeVerifier(targets.New()) },
	{Kind: plugins.KindVerifier, Name: "issuers"}:     func() { plugins.ServeVerifier(issuers.New()) },
}

func shippedNames() []plugins.Name {
	var names []plugins.Name
	for n := range Shipped {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b plugins.Name) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return names
}
