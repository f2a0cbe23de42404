// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

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
// fault; one that dies over an event is, and one that does not answer.
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

// answers is how long a notifier may take over an event here: bkp waits for 10 s, and others wait behind it.
const answers = 5 * time.Second

// told tells events and hears whether the notifier lives on.
func told(ctx context.Context, n core.Notifier, events ...string) error {
	for _, what := range events {
		timed, cancel := context.WithTimeout(ctx, answers)
		err := n.Notify(timed, Event(what))
		late := timed.Err() != nil
		cancel()
		if late {
			return fmt.Errorf("told %s: no answer within %s", what, answers)
		}
		if _, gone := n.Describe(ctx); gone != nil {
			return fmt.Errorf("told %s: %w", what, errors.Join(err, gone))
		}
	}
	return nil
}
