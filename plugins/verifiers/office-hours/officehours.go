// SPDX-License-Identifier: Apache-2.0

// Package officehours is an example of a verifier: it refuses licences outside working hours. It is not part of bkp;
// build and add it with
//
//	go build -o DATA/plugins/ ./plugins/verifiers/office-hours/bkp-verifier-office-hours
//	bkp node start --verifiers signature,targets,issuers,office-hours
//
// and configure it in config.toml:
//
//	[plugin.verifier.office-hours]
//	from = 8
//	to = 20
package officehours

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/serve"
)

// New is the verifier: from 9 to 17 local time, unless it is configured.
func New() core.Verifier { return &hours{From: 9, To: 17} }

type hours struct {
	From int `json:"from" about:"the hour at which the office opens, local time"`
	To   int `json:"to" about:"the hour at which it closes"`
}

func (h *hours) Describe(context.Context) (core.VerifierInfo, error) {
	return core.VerifierInfo{Name: "office-hours", Version: "1.1.0", Summary: "licences are taken in working hours only",
		Settings: serve.Settings(h)}, nil
}

func (h *hours) Configure(_ context.Context, config []byte) error { return json.Unmarshal(config, h) }

func (h *hours) Verify(_ context.Context, req core.VerifyRequest) (core.Verdict, error) {
	now := time.Unix(req.Now, 0)
	if hour := now.Hour(); hour < h.From || hour >= h.To {
		return core.Verdict{Code: "closed", Reason: fmt.Sprintf("the office is closed at %s", now.Format("15:04"))}, nil
	}
	return core.Verdict{OK: true}, nil
}
