// SPDX-License-Identifier: Apache-2.0

// Package officehours is an example of a verifier: it refuses licences outside working hours. It is not part of bkp;
// build and add it with
//
//	go build -o DATA/plugins/ ./plugins/verifiers/office-hours/bkp-verifier-office-hours
//	bkp node start --verifiers signature,targets,issuers,office-hours
package officehours

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// New is the verifier: from 9 to 17 local time, unless it is configured with JSON like {"from": 8, "to": 20}.
func New() core.Verifier { return &hours{From: 9, To: 17} }

type hours struct{ From, To int }

func (h *hours) Configure(_ context.Context, config []byte) error { return json.Unmarshal(config, h) }

func (h *hours) Verify(_ context.Context, req core.VerifyRequest) (core.Verdict, error) {
	now := time.Unix(req.Now, 0)
	if hour := now.Hour(); hour < h.From || hour >= h.To {
		return core.Verdict{Code: "closed", Reason: fmt.Sprintf("the office is closed at %s", now.Format("15:04"))}, nil
	}
	return core.Verdict{OK: true}, nil
}
