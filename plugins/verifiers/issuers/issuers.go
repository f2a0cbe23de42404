// SPDX-License-Identifier: Apache-2.0

// Package issuers is the verifier that decides who may store on this node, and how much.
//
// Its configuration is a JSON object:
//
//	{"issuers": {"OWNERID": 10737418240, "OTHERID": 0}, "open": false}
//
// issuers maps an owner to its quota in bytes, 0 for none but the node's capacity. An owner that is not listed is
// refused. With an empty list, or without configuration, members of the cluster token are served. With open set,
// everyone is, and listed owners keep their quotas.
//
// An owner that is not listed may have a permit of one that is, in its licence: then it may store as much as that says.
// What is stored under an issuer's permits counts against the issuer's quota, too, which the node itself holds.
//
// What is counted against a quota is what the owner keeps here plus what the licence would add, so that a second
// version which shares most of its runs with the first one needs room for the rest only.
package issuers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

// Config is the configuration, as JSON.
type Config struct {
	Issuers map[core.ID]core.Size `json:"issuers,omitempty"` // quotas by owner; 0 is none
	Open    bool                  `json:"open,omitempty"`    // serve owners that are not listed, too
}

// New is the verifier. It is a core.Configurer.
func New() core.Verifier { return &verifier{} }

type verifier struct {
	mu     sync.Mutex
	config Config
}

func (*verifier) Describe(context.Context) (core.VerifierInfo, error) {
	return core.VerifierInfo{Name: "issuers", Version: "1.0.0", Summary: "the owner may store here, within its quota"},
		nil
}

func (v *verifier) Configure(_ context.Context, config []byte) error {
	var c Config
	if err := json.Unmarshal(config, &c, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("issuers: %w", err)
	}
	for owner, quota := range c.Issuers {
		if owner.IsZero() {
			return errors.New("issuers: an owner without an ID")
		}
		if quota < 0 {
			return fmt.Errorf("issuers: quota of %s is negative: %d", owner, quota)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.config = c
	return nil
}

func (v *verifier) Verify(_ context.Context, req core.VerifyRequest) (core.Verdict, error) {
	v.mu.Lock()
	c := v.config
	v.mu.Unlock()
	l, _, _, err := license.Open(req.Envelope)
	if r, ok := errors.AsType[*license.Refusal](err); ok {
		return core.Verdict{Code: r.Rule, Reason: r.Reason}, nil
	} else if err != nil {
		return core.Verdict{}, err
	}
	return c.judge(l, req), nil
}

func (c Config) judge(l core.License, req core.VerifyRequest) core.Verdict {
	owner := l.TaskSource.Owner
	quota, listed := c.Issuers[owner]
	if !listed {
		permit, ok := license.PermitOf(l, req.Node, time.Unix(req.Now, 0), func(p core.Permit) bool {
			_, listed := c.Issuers[p.Issuer]
			return listed
		})
		if ok {
			quota, listed = permit.MaxBytes, true
		}
	}
	switch {
	case req.UsedBytes < 0 || req.AddedBytes < 0:
		return refuse("quota", "bytes are negative: %d used, %d to add", req.UsedBytes, req.AddedBytes)
	case listed && quota > 0 && (req.AddedBytes > quota || req.UsedBytes > quota-req.AddedBytes):
		return refuse("quota", "owner %s keeps %s here and asks for %s more; its quota is %s", owner, req.UsedBytes,
			req.AddedBytes, quota)
	case listed || c.Open:
		return core.Verdict{OK: true}
	case len(c.Issuers) > 0:
		return refuse("issuer", "owner %s is not among the %d that may store here", owner, len(c.Issuers))
	case !req.TokenMember:
		return refuse("issuer", "%s has not shown the cluster token, and no issuers are listed", req.Peer)
	}
	return core.Verdict{OK: true}
}

func refuse(code, format string, args ...any) core.Verdict {
	return core.Verdict{Code: code, Reason: fmt.Sprintf(format, args...)}
}
