// SPDX-License-Identifier: Apache-2.0

package session

import (
	"cmp"
	"slices"

	"github.com/bkp-tool/bkp/plugins/engines/folder"
	"github.com/bkp-tool/bkp/plugins/notifiers/command"
	"github.com/bkp-tool/bkp/plugins/notifiers/smtp"
	"github.com/bkp-tool/bkp/plugins/notifiers/webhook"
	"github.com/bkp-tool/bkp/plugins/serve"
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
	{Kind: plugins.KindStrategy, Name: "seed"}:        func() { serve.Strategy(seed.New()) },
	{Kind: plugins.KindStrategy, Name: "nearest"}:     func() { serve.Strategy(nearest.New()) },
	{Kind: plugins.KindStrategy, Name: "most-free"}:   func() { serve.Strategy(mostfree.New()) },
	{Kind: plugins.KindStrategy, Name: "cheapest"}:    func() { serve.Strategy(cheapest.New()) },
	{Kind: plugins.KindStrategy, Name: "zone-spread"}: func() { serve.Strategy(zonespread.New()) },
	{Kind: plugins.KindStrategy, Name: "reliable"}:    func() { serve.Strategy(reliable.New()) },
	{Kind: plugins.KindVerifier, Name: "signature"}:   func() { serve.Verifier(signature.New()) },
	{Kind: plugins.KindVerifier, Name: "targets"}:     func() { serve.Verifier(targets.New()) },
	{Kind: plugins.KindVerifier, Name: "issuers"}:     func() { serve.Verifier(issuers.New()) },
	{Kind: plugins.KindNotifier, Name: "webhook"}:     func() { serve.Notifier(webhook.New()) },
	{Kind: plugins.KindNotifier, Name: "smtp"}:        func() { serve.Notifier(smtp.New()) },
	{Kind: plugins.KindNotifier, Name: "command"}:     func() { serve.Notifier(command.New()) },
	{Kind: plugins.KindEngine, Name: "folder"}:        func() { serve.Engine(folder.New()) },
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
