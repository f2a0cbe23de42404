// SPDX-License-Identifier: Apache-2.0

package license

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// The rules that a licence or receipt can break. They are words for people, logs and tests; on the wire goes the
// core.Reason.
const (
	RuleEnvelope  = "envelope"   // not a DSSE envelope that bkp reads, or too long
	RuleType      = "type"       // another payload type: a receipt is no licence
	RuleUnsigned  = "unsigned"   // no signature, or more than one
	RuleKey       = "key"        // the public key is malformed, or of small order
	RuleSignature = "signature"  // the signature does not fit
	RuleJSON      = "json"       // malformed
	RuleDuplicate = "duplicate"  // a name stands twice in an object
	RuleName      = "name"       // a name that is not known, TARGETS for targets too
	RuleTrailing  = "trailing"   // something follows the object
	RuleVersion   = "version"    // a format version not known here
	RuleField     = "field"      // a field is missing or says nothing that can be
	RuleNoTargets = "no-targets" // the list of targets is empty
	RuleWildcard  = "wildcard"   // a target that is not exactly one node
	RuleBounds    = "bounds"     // a negative or overflowing number
	RuleIssuer    = "issuer"     // signed by neither the owner nor a delegate with the right to write
	RulePresenter = "presenter"  // shown by a peer that is neither its source nor a carrier
	RuleTarget    = "target"     // this node is not named in it
	RuleEarly     = "not-before" // not valid yet
	RuleExpired   = "expired"    // no longer valid
	RuleRoot      = "root"       // it is for other runs
	RuleLimit     = "limit"      // more bytes or runs than it allows
	RuleReplay    = "replay"     // its id is already bound to another root
)

// Refusal says which rule a licence or receipt breaks and how. Every error of Open, Check, CheckBound and OpenReceipt
// is one.
type Refusal struct {
	Code   core.Reason // what goes on the wire
	Rule   string      // one of the Rule constants
	Reason string      // for people
}

func (r *Refusal) Error() string { return r.Reason }

// Unwrap gives the exit code that goes with the reason.
func (r *Refusal) Unwrap() error { return core.Fail(r.Code.ExitCode(), "%s", r.Reason) }

func refuse(rule, format string, args ...any) *Refusal {
	return &Refusal{Code: core.ReasonLicense, Rule: rule, Reason: fmt.Sprintf(format, args...)}
}
