// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"fmt"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// Notifier runs the suite as subtests, one a rule.
func Notifier(t *testing.T, n core.Notifier) {
	t.Helper()
	NotifierRules(t.Context(), n, func(r Rule) { r.test(t) })
}

// Event is an event of a kind, as a node may tell it.
func Event(what string) core.Event {
	e := core.Event{What: what, Time: Now.Unix(), Node: Node.ID, Subject: "big.iso@2", Text: "what happened, in a sentence"}
	if what == core.EventCopiesLost || what == core.EventAuditFailed {
		e.Peer, e.Copies, e.Wanted = Other.ID, 1, 2
	}
	return e
}

// NotifierRules tells of each rule whether the notifier keeps it: it describes itself, takes its settings, and is told
// events of each kind, and several at once. With its defaults alone it may have nowhere to tell them, so an error is no
// fault; one that dies over an event is.
func NotifierRules(ctx context.Context, n core.Notifier, tell func(Rule)) {
	info, err := n.Describe(ctx)
	if err == nil {
		err = describes(info.Name, info.Version, info.Summary, info.Settings)
	}
	tell(Rule{"describes itself", err})
	tell(Rule{"takes its settings", configures(ctx, n, info.Settings)})
	tell(Rule{"is told an event of each kind", told(ctx, n, core.Events...)})
	tell(Rule{"is told an event that there is not yet", told(ctx, n, "comet-seen")})
	tell(Rule{"is told several at once", atOnce(func(int) error { return told(ctx, n, core.Events...) })})
}

// told tells events and hears whether the notifier lives on.
func told(ctx context.Context, n core.Notifier, events ...string) error {
	for _, what := range events {
		err := n.Notify(ctx, Event(what))
		if _, alive := n.Describe(ctx); core.CodeOf(err) == core.CodePlugin && alive != nil {
			return fmt.Errorf("told %s: %w", what, err)
		}
	}
	return nil
}
