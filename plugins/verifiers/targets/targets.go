// SPDX-License-Identifier: Apache-2.0

// Package targets is the verifier that wants this node to be named in the licence.
//
// For op "store" the node must be among targets or spares. For "carry" (to pass runs on without keeping them) it must
// be among carriers, or, where the licence lists none, it passes: every target and relay may then carry.
package targets

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

// New is the verifier.
func New() core.Verifier { return verifier{} }

type verifier struct{}

func (verifier) Describe(context.Context) (core.VerifierInfo, error) {
	return core.VerifierInfo{Name: "targets", Version: "1.0.0", Summary: "the licence names this node"}, nil
}

func (verifier) Verify(_ context.Context, req core.VerifyRequest) (core.Verdict, error) {
	l, _, _, err := license.Open(req.Envelope)
	if r, ok := errors.AsType[*license.Refusal](err); ok {
		return core.Verdict{Code: r.Rule, Reason: r.Reason}, nil
	} else if err != nil {
		return core.Verdict{}, err
	}
	named := slices.Contains(l.Targets, req.Node) || slices.Contains(l.Spares, req.Node)
	switch req.Op {
	case "store":
		if !named {
			return refuse("%s is not among its %d targets and %d spares", req.Node, len(l.Targets), len(l.Spares)), nil
		}
	case "carry":
		if len(l.Carriers) > 0 && !named && !slices.Contains(l.Carriers, req.Node) {
			return refuse("%s is not among its %d carriers", req.Node, len(l.Carriers)), nil
		}
	default:
		return refuse("op %q is not known to this verifier", req.Op), nil
	}
	return core.Verdict{OK: true}, nil
}

func refuse(format string, args ...any) core.Verdict {
	return core.Verdict{Code: license.RuleTarget, Reason: fmt.Sprintf(format, args...)}
}
