// SPDX-License-Identifier: Apache-2.0

package issuers_test

import (
	"fmt"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/plugintest/processtest"
	"github.com/bkp-tool/bkp/plugins/verifiers/issuers"
)

func asked(member bool, used, added core.Size) core.VerifyRequest {
	req := plugintest.Request(plugintest.Owner, nil)
	req.TokenMember, req.UsedBytes, req.AddedBytes = member, used, added
	return req
}

var (
	owner = plugintest.Owner.ID
	none  = "{}"
	open  = `{"open": true}`
	tenMB = fmt.Sprintf(`{"issuers": {%q: 10000000}}`, owner)
	both  = fmt.Sprintf(`{"issuers": {%q: 10000000}, "open": true}`, owner)
	free  = fmt.Sprintf(`{"issuers": {%q: 0}}`, owner)
	other = fmt.Sprintf(`{"issuers": {%q: 0}}`, plugintest.Other.ID)
)

var cases = []plugintest.Case{
	{Name: "no configuration, member", Request: asked(true, 0, core.GiB), OK: true},
	{Name: "no configuration, stranger", Request: asked(false, 0, 1), Code: "issuer"},
	{Name: "empty list, member", Config: none, Request: asked(true, 0, core.GiB), OK: true},
	{Name: "empty list, stranger", Config: none, Request: asked(false, 0, 1), Code: "issuer"},
	{Name: "open, stranger", Config: open, Request: asked(false, 0, 1), OK: true},
	{Name: "listed", Config: free, Request: asked(false, core.TiB, core.TiB), OK: true},
	{Name: "3 unknown issuer, though a member", Config: other, Request: asked(true, 0, 1), Code: "issuer"},
	{Name: "19 at the quota", Config: tenMB, Request: asked(false, 4_000_000, 6_000_000), OK: true},
	{Name: "19 one byte over the quota", Config: tenMB, Request: asked(false, 4_000_000, 6_000_001), Code: "quota"},
	{Name: "over the quota already", Config: tenMB, Request: asked(false, 10_000_001, 0), Code: "quota"},
	{Name: "sum overflows", Config: tenMB, Request: asked(false, 1<<62, 1<<62), Code: "quota"},
	{Name: "open keeps quotas", Config: both, Request: asked(false, 10_000_000, 1), Code: "quota"},
}

func TestConformance(t *testing.T) { plugintest.Verifier(t, issuers.New(), cases...) }

func TestConformanceAsProcess(t *testing.T) {
	processtest.Verifier(t, "./bkp-verifier-issuers", cases...)
}

func TestBadConfigurationIsRefused(t *testing.T) {
	for _, config := range []string{
		``, `[]`, `{"issuer": {}}`, `{"issuers": {"someone": 1}}`, `{"issuers": {"": 1}}`,
		fmt.Sprintf(`{"issuers": {%q: -1}}`, owner),
		fmt.Sprintf(`{"issuers": {%q: 1, %q: 2}}`, owner, owner), `{"open": "yes"}`,
	} {
		v := issuers.New().(core.Configurer)
		if err := v.Configure(t.Context(), []byte(config)); err == nil {
			t.Errorf("took %s", config)
		}
	}
}
