// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
)

const (
	heraldQueue   = 256             // events that wait for a notifier; what comes beyond is dropped, and logged
	heraldTries   = 4               // of one event
	heraldPause   = 2 * time.Second // before the second; longer before later ones
	heraldGoodbye = 3 * time.Second // that a node which ends waits for events that are being told
)

// herald tells the notifiers of config.toml what happens on a node. Each has a queue of its own, so one that hangs
// holds up nothing, and runs only while there is something to tell.
type herald struct {
	host   *plugins.Host
	log    *slog.Logger
	queues map[string]chan core.Event
	cancel context.CancelFunc
	all    sync.WaitGroup
}

// newHerald starts each notifier once, to see that it starts and takes its settings.
func newHerald(ctx context.Context, host *plugins.Host, log *slog.Logger) (*herald, error) {
	h := &herald{host: host, log: log, queues: map[string]chan core.Event{}}
	telling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	for n := range host.Config {
		if n.Kind != plugins.KindNotifier {
			continue
		}
		if _, err := host.Info(ctx, n.Kind, n.Name); err != nil {
			cancel()
			return nil, err
		}
		h.queues[n.Name] = make(chan core.Event, heraldQueue)
	}
	for name, events := range h.queues {
		h.all.Go(func() {
			for e := range events {
				h.tell(telling, name, e, events)
			}
		})
	}
	return h, nil
}

// Tell has every notifier told of an event. It does not block.
func (h *herald) Tell(e core.Event) {
	for name, events := range h.queues {
		select {
		case events <- e:
		default:
			h.log.Warn("not told: too much waits for the notifier", "notifier", name, "event", e.What, "subject", e.Subject)
		}
	}
}

// tell starts a notifier and tells it an event, and what waits behind that.
func (h *herald) tell(ctx context.Context, name string, e core.Event, more <-chan core.Event) {
	n, err := backoff.Retry(ctx, func() (*plugins.Notifier, error) {
		n, err := h.host.Notifier(ctx, name)
		if err == nil {
			if err = n.Notify(ctx, e); err != nil {
				n.Close()
			}
		}
		if err != nil {
			err = fmt.Errorf("%s of %s: %w", e.What, e.Subject, err)
			h.log.Warn("not told", "error", err)
		}
		return n, err
	}, backoff.WithMaxTries(heraldTries), backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: heraldPause, RandomizationFactor: 0.2, Multiplier: 5, MaxInterval: time.Minute}))
	if err != nil {
		return
	}
	defer n.Close()
	for {
		select {
		case e, open := <-more:
			if !open {
				return
			}
			if err := n.Notify(ctx, e); err != nil {
				h.tell(ctx, name, e, more)
				return
			}
		default:
			return
		}
	}
}

// Close lets what is being told end. Nothing is told after it.
func (h *herald) Close() error {
	late := time.AfterFunc(heraldGoodbye, h.cancel)
	defer late.Stop()
	for _, events := range h.queues {
		close(events)
	}
	h.all.Wait()
	h.cancel()
	return nil
}
