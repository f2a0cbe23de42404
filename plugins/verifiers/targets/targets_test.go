// SPDX-License-Identifier: Apache-2.0

package targets_test

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/plugintest/processtest"
	"github.com/bkp-tool/bkp/plugins/verifiers/targets"
)

func asked(node plugintest.Party, op string, change func(*core.License)) core.VerifyRequest {
	req := plugintest.Request(plugintest.Owner, change)
	req.Node, req.Op = node.ID, op
	return req
}

func carriedBy(p plugintest.Party) func(*core.License) {
	return func(l *core.License) { l.Carriers = []core.ID{p.ID} }
}

var cases = []plugintest.Case{
	{Name: "target", Request: asked(plugintest.Node, "store", nil), OK: true},
	{Name: "spare", Request: asked(plugintest.Spare, "store", nil), OK: true},
	{Name: "7 wrong target", Request: asked(plugintest.Other, "store", nil), Code: "target"},
	{Name: "a carrier may not store", Request: asked(plugintest.Other, "store", carriedBy(plugintest.Other)),
		Code: "target"},
	{Name: "carrier", Request: asked(plugintest.Other, "carry", carriedBy(plugintest.Other)), OK: true},
	{Name: "not the carrier named", Request: asked(plugintest.Other, "carry", carriedBy(plugintest.Source)),
		Code: "target"},
	{Name: "any carrier", Request: asked(plugintest.Other, "carry", nil), OK: true},
	{Name: "unknown op", Request: asked(plugintest.Node, "burn", nil), Code: "target"},
	{Name: "8 empty targets", Request: asked(plugintest.Node, "store", func(l *core.License) { l.Targets = nil }),
		Code: "no-targets"},
}

func TestConformance(t *testing.T) { plugintest.Verifier(t, targets.New(), cases...) }

func TestConformanceAsProcess(t *testing.T) {
	processtest.Verifier(t, "./bkp-verifier-targets", cases...)
}
