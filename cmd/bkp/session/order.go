// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/gossip"
	"github.com/bkp-tool/bkp/core/health"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/plugins"
)

const (
	orderEvery   = 10 * time.Second // the order is read, which also shows that its engine is there
	recordEvery  = time.Minute      // a new head is entered at most: a node that takes much in signs one at each barrier
	orderGoodbye = 3 * time.Second  // that a node which ends waits for its last head to be entered
	// orderSlow is how long the engine may take over a look at the order; CometBFT makes a block a second.
	orderSlow = 20 * time.Second
)

const (
	orderKey   = "order"
	ownHeadKey = "order: ledger"
)

// order is what a node has an engine keep for itself and others: bookings, by way of *ledger.Order, and heads of ledgers.
// Its goroutine enters this node's head and holds those of others against what is known of them.
type order struct {
	*ledger.Order
	engine *plugins.KeptEngine
	heads  gossip.Heads // nil: this node has no ledger
	self   core.ID
	health *health.Health
	log    *slog.Logger
	place  place
	cancel context.CancelFunc
	done   chan struct{}
}

// engineOf is the engine of config.toml; false where there is none.
func engineOf(host *plugins.Host) (plugins.Name, bool, error) {
	var names []string
	var found plugins.Name
	for n := range host.Config {
		if n.Kind == plugins.KindEngine {
			names, found = append(names, "[plugin.engine."+n.Name+"]"), n
		}
	}
	if slices.Sort(names); len(names) > 1 {
		return found, false, core.WithHint(line.UsageError("%s: a node has one engine", strings.Join(names, " and ")),
			"leave the one that all nodes of its order have")
	}
	return found, len(names) == 1, nil
}

// openOrder starts the engine of config.toml, has the node book with it and, where it keeps something for others, accept
// only what is booked. It is nil where there is no engine.
func (op *Opener) openOrder(ctx context.Context, host *plugins.Host, conf *commands.Config) (*order, error) {
	name, is, err := engineOf(host)
	if err != nil || !is {
		return nil, err
	}
	engine, err := host.KeepEngine(ctx, name.Name, tell(conf.Health))
	if err != nil {
		return nil, err
	}
	o := &order{Order: ledger.NewOrder(engine), engine: engine, heads: conf.Heads, self: conf.Signer.ID(),
		health: conf.Health, log: conf.Log, place: placeOf(op.own(), name, host.Config[name]), done: make(chan struct{})}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o.cancel = cancel
	go func() {
		defer close(o.done)
		o.watch(watching)
	}()
	return o, nil
}

// watch reads the order and enters this node's head until ctx ends, and then once more.
func (o *order) watch(ctx context.Context) {
	heads := o.Heads(o.place.read(), o.met)
	ticks := time.NewTicker(orderEvery)
	defer ticks.Stop()
	var recorded time.Time
	down := false
	for {
		due := time.Since(recorded) >= recordEvery
		err := o.look(ctx, heads, due)
		switch {
		case ctx.Err() != nil:
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), orderGoodbye)
			defer cancel()
			if err := o.look(last, heads, true); err != nil {
				o.log.Warn("the newest head of the ledger is not in the order", "error", err)
			}
			return
		case err != nil:
			o.health.Degrade(orderKey, fmt.Sprintf("the order cannot be asked: %v; it is asked again, and until then "+
				"nothing new is kept or placed", err), true)
			if !down { // once, however long it lasts
				o.log.Warn("the order cannot be asked", "error", err)
			}
			down = true
		default:
			o.health.Recover(orderKey)
			if down = false; due {
				recorded = time.Now()
			}
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}

// look reads what is new, and enters this node's head where that is due.
func (o *order) look(ctx context.Context, heads *ledger.Heads, due bool) error {
	ctx, cancel := context.WithTimeout(ctx, orderSlow)
	defer cancel()
	var own key.SignedHead
	var err error
	if due = due && o.heads != nil; due {
		own, err = o.heads.Own()
	}
	if due && err == nil && own.Size > 0 {
		err = heads.Record(ctx, own)
	} else {
		err = heads.Read(ctx)
	}
	if kept := o.place.write(heads.After()); kept != nil {
		o.log.Warn("order", "error", kept)
	}
	return err
}

// met holds a head against what is known of its ledger.
func (o *order) met(head key.SignedHead, err error) {
	id := head.Node()
	if o.heads == nil {
		return
	}
	if id == o.self {
		if err == nil {
			err = o.heads.Holds(core.LedgerHead{Size: head.Size, Root: head.Root})
		}
		if core.CodeOf(err) == core.CodeWrong {
			o.say(ownHeadKey, fmt.Sprintf("the order has a head that this node signed, and %v", err))
		}
		return
	}
	if known, is := o.heads.Kept()[id]; err == nil && is && known.Size == head.Size && known.Root != head.Root {
		err = fmt.Errorf("it signed two heads over %d entries", head.Size)
	} else if err == nil && !is { // of one that is known its own proof counts, as it is met
		err = o.heads.Keep([]key.SignedHead{head})
	}
	if err != nil {
		o.say("order: ledger of "+id.String(), fmt.Sprintf("the ledger of node %s was cut or rewritten, by the order: %v "+
			"(what it keeps has to be proved anew)", id.Short(), err))
	}
}

func (o *order) say(key, text string) {
	o.health.Degrade(key, text, false)
	o.log.Warn(text)
}

// Close enters the node's newest head and ends the engine.
func (o *order) Close() error {
	o.cancel()
	<-o.done
	o.engine.Close()
	return nil
}

// place is how far the heads of an order were read: order.json.
type place struct {
	file  datadir.Memory
	order string // which order: the engine and its settings
}

type placeFile struct {
	Order string `json:"order"`
	Heads int64  `json:"heads"`
}

func placeOf(d datadir.Dir, n plugins.Name, c plugins.Config) place {
	text, _ := json.Marshal(c)
	sum := sha256.Sum256(append([]byte(n.Name+"\n"), text...))
	return place{d.Memory("order.json"), n.Name + " " + hex.EncodeToString(sum[:8])}
}

func (p place) read() int64 {
	var f placeFile
	if text, err := p.file.Read(); err != nil || json.Unmarshal(text, &f) != nil || f.Order != p.order {
		return 0
	}
	return max(0, f.Heads)
}

func (p place) write(heads int64) error {
	if p.read() == heads {
		return nil
	}
	text, err := json.Marshal(placeFile{p.order, heads})
	if err != nil {
		return err
	}
	return p.file.Write(append(text, '\n'))
}

// OrderedHead is a head of a ledger as the order has it.
type OrderedHead struct {
	ledger.SignedHead
	Entry int64 // of the order
	Wrong error // why it does not follow on the node's head before it
}

// OrderHeads are all heads that the order of config.toml has, in its order.
func OrderHeads(ctx context.Context, host *plugins.Host) (found []OrderedHead, err error) {
	name, is, err := engineOf(host)
	if err != nil {
		return nil, err
	}
	if !is {
		return nil, core.WithHint(line.UsageError("this node has no engine"),
			"name one in config.toml, in a table [plugin.engine.NAME]; bkp plugin list shows which there are")
	}
	engine, err := host.Engine(ctx, name.Name)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	var heads *ledger.Heads
	heads = ledger.NewOrder(engine).Heads(0, func(h ledger.SignedHead, wrong error) {
		found = append(found, OrderedHead{h, heads.After(), wrong})
	})
	return found, heads.Read(ctx)
}
