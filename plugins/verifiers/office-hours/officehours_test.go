// SPDX-License-Identifier: Apache-2.0

package officehours_test

import (
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/plugintest/processtest"
	officehours "github.com/bkp-tool/bkp/plugins/verifiers/office-hours"
)

func at(hour, minute int) core.VerifyRequest {
	req := plugintest.Request(plugintest.Owner, nil)
	req.Now = time.Date(2026, 6, 1, hour, minute, 0, 0, time.Local).Unix()
	return req
}

var cases = []plugintest.Case{
	{Name: "before nine", Request: at(8, 59), Code: "closed"},
	{Name: "nine", Request: at(9, 0), OK: true},
	{Name: "before five", Request: at(16, 59), OK: true},
	{Name: "five", Request: at(17, 0), Code: "closed"},
	{Name: "late shift", Config: `{"from": 12, "to": 20}`, Request: at(19, 59), OK: true},
	{Name: "never", Config: `{"from": 0, "to": 0}`, Request: at(12, 0), Code: "closed"},
}

func TestConformance(t *testing.T) { plugintest.Verifier(t, officehours.New(), cases...) }

func TestConformanceAsProcess(t *testing.T) {
	processtest.Verifier(t, "./bkp-verifier-office-hours", cases...)
}
