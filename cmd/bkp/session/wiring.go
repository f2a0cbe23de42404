// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir/heard"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/volume"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/health"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/repair"
	"github.com/bkp-tool/bkp/core/storage/disk/space"
	"github.com/bkp-tool/bkp/core/storage/s3"
	"github.com/bkp-tool/bkp/plugins"
)

// wish is what kind of node a command needs.
type wish struct {
	transient bool   // for the time of one command: it dials, keeps nothing for others, and needs no verifiers
	listen    string // HOST:PORT
	listener  net.Listener
}

// start wires a node from the data directory and the settings. What it opened is closed after the node.
func (op *Opener) start(ctx context.Context, w wish) (_ *commands.Node, opened datadir.Closers, err error) {
	defer func() {
		if err != nil {
			_ = opened.Close()
			opened = nil
		}
	}()
	set := op.flags.Settings
	conf := commands.Config{
		Config: node.Config{Health: &health.Health{}, Listen: w.listen, Listener: w.listener, Links: set.Links,
			Log: op.console.Log(slog.LevelInfo)},
		Owned: commands.Owned{Trunks: set.Trunks, Refs: op.dir.Refs()},
	}
	if w.transient {
		conf.Log = op.console.Log(slog.LevelError) // what went wrong on the way stands in the command's result
	}
	if conf.Signer, err = op.nodeKey(); err != nil {
		return nil, opened, err
	}
	op.dir.Sweep()
	conf.Owner = op.identity
	if err := op.network(&conf, w); err != nil {
		return nil, opened, err
	}
	if err := op.limits(&conf, w); err != nil {
		return nil, opened, err
	}
	told := op.told(ctx, conf.Health)
	if !w.transient {
		if err = op.useStorage(ctx, &conf, told); err != nil {
			return nil, opened, err
		}
	}
	stood, err := op.stores(conf.Signer, told)
	if err != nil {
		return nil, opened, err
	}
	opened = append(opened, stood)
	conf.Staging, conf.Away, conf.Keeping, conf.Holdings, conf.Ledger = stood.Staging, stood.Offloaded, stood.Keeping,
		stood.Holdings, stood.Ledger
	if log, ok := stood.Ledger.(*datadir.Logbook); ok { // else it is gone or damaged
		if conf.Heads, err = heard.OpenHeads(op.dir, op.own(), log); err != nil {
			return nil, opened, err
		}
	}
	conf.Freeing, conf.Placed = op.dir.Reserve().During, op.dir.Placements()
	opened = append(opened, conf.Placed)
	if !w.transient {
		if err = op.capacity(&conf); err != nil {
			return nil, opened, err
		}
	}
	if path := op.flags.String("trace"); path != "" {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, opened, line.UsageError("--trace: %w", err)
		}
		conf.Trace, opened = f, append(opened, f)
	}
	conf.Memory = op.own().Memory("bandwidth.json")
	conf.Cut, conf.Volume = op.dir.CutFile, volume.In(string(op.own()))
	host := op.Plugins()
	opened = append(opened, closer(func() error { plugins.Cleanup(); return nil }))
	conf.Strategy = func(ctx context.Context, name string) (core.Strategy, io.Closer, error) {
		return OpenStrategy(ctx, host, name)
	}
	if !w.transient {
		told, err := newHerald(ctx, host, conf.Log)
		if err != nil {
			return nil, opened, err
		}
		conf.Tell, opened = told.Tell, append(opened, told)
	}
	if conf.Verifiers, err = op.verifiers(ctx, host, &conf, w); err != nil {
		return nil, opened, err
	}
	ordered, err := op.openOrder(ctx, host, &conf)
	if err != nil {
		return nil, opened, err
	}
	if ordered != nil {
		conf.Order, opened = ordered, append(opened, ordered)
		conf.Verifiers = append(conf.Verifiers, keep.NamedVerifier{Name: "order", Verifier: ordered})
	}
	var n *commands.Node
	up := make(chan struct{}) // a command may come before it is known here
	if !w.transient {
		conf.Again = func(ctx context.Context) error {
			<-up
			op.reloading.Lock()
			defer op.reloading.Unlock()
			return op.tryReload(ctx, n)
		}
	}
	n, err = commands.Start(ctx, conf)
	close(up)
	return n, opened, err
}

type closer func() error

func (f closer) Close() error { return f() }

// network is whom the node meets, and how it trusts them.
func (op *Opener) network(conf *commands.Config, w wish) (err error) {
	conf.Plaintext = op.flags.Bool("insecure-plaintext")
	if conf.Token, err = op.token(); err != nil {
		return err
	}
	o, err := conf.Owner()
	if err != nil {
		return err
	}
	if conf.Peers, err = core.ParsePeers(op.PeerList(o)); err != nil {
		return err
	}
	if op.flags.String("peers") == "" {
		conf.Peers = op.withoutUnfit(conf.Peers, conf.Signer.ID(), w.listen)
	}
	if err := core.RefuseSelf(conf.Peers, conf.Signer.ID(), w.listen); err != nil {
		return err
	}
	for _, p := range conf.Peers {
		if p.Rate == 0 && !w.transient && op.flags.String("peers") != "" && !op.flags.Settings.Names(p) {
			return core.WithHint(line.UsageError("peer %s: its bandwidth is missing", p.Address()),
				"say what this node gives the link: %s-20MiB, or in a calendar: [links] in "+
					"%s", p, op.flags.Settings.Path)
		}
		if p.Scheme == "ws" && !conf.Plaintext {
			return core.WithHint(core.Fail(core.CodeUsage, "peer %s: ws:// is not encrypted", p.Address()),
				"write wss://, or allow it with --insecure-plaintext")
		}
	}
	if w.transient && len(conf.Peers) == 0 && !op.Alone {
		return core.WithHint(line.UsageError("no peers are known and no node runs on %s", string(op.dir)),
			"name some with --peers wss://HOST:8001-20MiB, or peers = \"…\" in %s", op.flags.Settings.Path)
	}
	met, err := op.dir.OpenPins(op.own())
	if err != nil {
		return err
	}
	if err := met.Under(conf.Token); err != nil {
		return err
	}
	conf.Pins = met
	conf.Damaged = append(conf.Damaged, met.Damage()...)
	if conf.Revoked, err = heard.OpenRevoked(op.dir, op.own()); err != nil {
		return err
	}
	if !w.transient {
		guests, err := op.dir.OpenInvites(met)
		if err != nil {
			return err
		}
		conf.Guests, conf.Damaged = guests, append(conf.Damaged, guests.Damage()...)
	}
	if conf.Plaintext && conf.Token == nil && !w.transient {
		op.console.Say("warning: --insecure-plaintext without a cluster token: this node serves anyone who reaches it")
	}
	if w.transient {
		return nil
	}
	issuers, err := op.flags.Issuers()
	if err != nil {
		return err
	}
	if !conf.Plaintext && conf.Token == nil && len(issuers) == 0 {
		op.console.Say("warning: no cluster token and no --issuer: nobody may store here; bkp invite lets others in")
	}
	if err := weak(conf.Token); conf.Token != nil && err != nil {
		op.console.Say("warning: the cluster token %v: whoever guesses it is a member; draw one: "+
			"head -c 32 /dev/urandom | base64 > token", err)
	}
	if len(conf.Peers) == 0 {
		op.console.Say("warning: no peers are named: this node meets those only that dial it")
	}
	return nil
}

// PeerList is --peers, which the configuration may fill, else what the identity remembers.
func (op *Opener) PeerList(o *key.Owner) string {
	if list := op.flags.String("peers"); list != "" || o == nil {
		return list
	}
	return datadir.Remembered(o)
}

// limits is what the node gives: space, bandwidth, labels, and to whom.
func (op *Opener) limits(conf *commands.Config, w wish) (err error) {
	if w.transient {
		return nil
	}
	if conf.Uplink, err = op.flags.Calendar("uplink"); err != nil {
		return err
	}
	if conf.Downlink, err = op.flags.Calendar("downlink"); err != nil {
		return err
	}
	if conf.DefaultLink, err = op.flags.Rate("default-link"); err != nil {
		return err
	}
	if conf.Labels, err = line.Labelled("label", op.flags.List("label")); err != nil {
		return err
	}
	if conf.Issuers, err = op.flags.Issuers(); err != nil {
		return err
	}
	if w.listener != nil { // what it placed is kept by a node that goes on
		if conf.Repair, err = op.pace(); err != nil {
			return err
		}
	}
	if conf.KeepAtMost, err = op.flags.Span("keep-at-most"); err != nil {
		return err
	}
	conf.Capacity, err = op.flags.Size("capacity")
	return err
}

// pace is how placements are kept.
func (op *Opener) pace() (*repair.Config, error) {
	var pace repair.Config
	var err error
	if pace.Grace, err = op.flags.Span("repair-grace"); err != nil {
		return nil, err
	}
	if pace.AuditEvery, err = op.flags.Span("audit-every"); err != nil {
		return nil, err
	}
	pace.Share, err = op.flags.Share("repair-share")
	return &pace, err
}

// verifiers starts the chain that judges licences. A node of one command keeps nothing, but its chain has to be whole.
func (op *Opener) verifiers(ctx context.Context, host *plugins.Host, conf *commands.Config,
	w wish) ([]keep.NamedVerifier, error) {
	if w.transient {
		return []keep.NamedVerifier{{Name: "signature", Verifier: refuseAll{}},
			{Name: "targets", Verifier: refuseAll{}}}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var chain []keep.NamedVerifier
	for name := range strings.SplitSeq(op.flags.String("verifiers"), ",") {
		name = strings.TrimSpace(name)
		if told := host.Config[plugins.Name{Kind: plugins.KindVerifier, Name: name}]; told != nil && name == "issuers" {
			return nil, core.WithHint(line.UsageError("[plugin.verifier.issuers]: its node configures it"),
				"say who may store here by --issuer or [issuers]")
		}
		v, err := host.KeepVerifier(ctx, name, tell(conf.Health))
		if err != nil {
			return nil, err
		}
		if name == "issuers" {
			words, err := issuerConfig(conf)
			if err != nil {
				return nil, err
			}
			if err := v.Configure(ctx, words); err != nil {
				return nil, err
			}
		}
		chain = append(chain, keep.NamedVerifier{Name: name, Verifier: v})
	}
	return chain, nil
}

// tell has a node's health say which of its plugins is missing: without a verdict of each verifier it accepts nothing.
func tell(h *health.Health) plugins.Watch {
	return func(name plugins.Name, gone error) {
		if gone == nil {
			h.Recover(name.String())
			return
		}
		h.Degrade(name.String(), fmt.Sprintf("%v; it is being started again", gone), true)
	}
}

// issuerConfig tells the verifier of issuers whom this node serves.
func issuerConfig(conf *commands.Config) ([]byte, error) {
	words, err := json.Marshal(struct {
		Issuers map[core.ID]core.Size `json:"issuers,omitempty"`
		Open    bool                  `json:"open,omitempty"`
	}{conf.Issuers, conf.Plaintext && conf.Token == nil && len(conf.Issuers) == 0})
	if err != nil {
		return nil, fmt.Errorf("configure the verifier of issuers: %w", err)
	}
	return words, nil
}

// refuseAll is the chain of a node that keeps nothing for others.
type refuseAll struct{}

func (refuseAll) Verify(context.Context, core.VerifyRequest) (core.Verdict, error) {
	return core.Verdict{Code: "transient", Reason: "this node keeps nothing: it carries out one command"}, nil
}

// told hears of a bucket that the node keeps its packs in: while it does not answer, the node's health says so.
func (op *Opener) told(ctx context.Context, h *health.Health) datadir.Told {
	return datadir.Told{Until: ctx, Say: op.console.Say, Trouble: func(err error) {
		if err == nil {
			h.Recover(storageKey)
			return
		}
		h.Degrade(storageKey, fmt.Sprintf("its storage does not answer, and is asked again: %v", err), true)
	}}
}

const storageKey = "storage"

// useStorage takes the bucket of --storage for what the node keeps for others.
func (op *Opener) useStorage(ctx context.Context, conf *commands.Config, told datadir.Told) error {
	lock, err := op.bucketLock()
	if err != nil {
		return err
	}
	if text := op.flags.String("storage"); text != "" {
		place, err := s3.Parse(text)
		if err != nil {
			return line.UsageError("--storage: %w", err)
		}
		if lock != 0 {
			place.Lock = lock
		}
		if conf.Capacity == 0 {
			return core.WithHint(line.UsageError("--storage: a bucket does not say how much it holds"),
				"say how much this node may keep in it: --capacity SIZE")
		}
		return op.dir.UseBucket(ctx, place, told)
	}
	place, is, err := op.dir.Bucket()
	switch {
	case err != nil:
	case is && conf.Capacity == 0:
		err = core.WithHint(line.UsageError("this node keeps its packs in %s, which does not say how much it holds",
			place.Short()), "say how much this node may keep in it: --capacity SIZE")
	case is && lock != 0:
		place.Lock = lock
		err = op.dir.UseBucket(ctx, place, told)
	case lock != 0:
		err = core.WithHint(line.UsageError("--lock: this node keeps on its disk, where nothing can be locked"),
			"name a bucket that has Object Lock: --storage s3://BUCKET/PREFIX; bkp place --lock has targets refuse releases")
	}
	return err
}

// bucketLock is --lock of the command line; 0 where it was not given. The setting of that name is that of place.
func (op *Opener) bucketLock() (time.Duration, error) {
	if !op.flags.Given("lock") {
		return 0, nil
	}
	lock, err := s3.ParseLock(op.flags.String("lock"))
	if err != nil {
		return 0, line.UsageError("--lock: %w", err)
	}
	return lock, nil
}

// aByteKeeps is how much may stand in a bucket for a byte of the disk: tables and records of a GiB in chunks of 256 KiB
// took 1.8 MiB here (scripts/s3 bench).
const aByteKeeps = 256

// capacity is how much the node keeps for others: what --capacity says, of which a disk may have less, else 80 % of
// what is free or kept already.
func (op *Opener) capacity(conf *commands.Config) error {
	where, aside := op.dir.Path("holdings"), op.dir.Reserve()
	_, away, err := op.dir.Bucket()
	if err != nil {
		return err
	}
	conf.Room = func() (core.Size, error) {
		room, err := space.Room(where)
		room = max(0, room-aside.Missing())
		if away {
			room *= aByteKeeps
		}
		return room, err
	}
	used, err := conf.Keeping.Used(context.Background())
	if err != nil {
		return err
	}
	room, err := conf.Room()
	switch {
	case errors.Is(err, errors.ErrUnsupported) && conf.Capacity > 0:
	case err != nil:
		return err
	case conf.Capacity == 0:
		conf.Capacity = (used + room) / 10 * 8
	case conf.Capacity > used+room:
		op.console.Say("warning: --capacity %s: the disk of %s has room for %s, so no more than that is offered",
			conf.Capacity,
			string(op.dir), used+room)
	}
	return nil
}

// withoutUnfit leaves out of remembered peers those that are of no use here: this machine itself, where the identity
// came to one of its own peers, and those that are reached without encryption only, unless that is allowed.
func (op *Opener) withoutUnfit(peers []core.Peer, self core.ID, listen string) []core.Peer {
	return slices.DeleteFunc(peers, func(p core.Peer) bool {
		plain := p.Scheme == "ws" && !op.flags.Bool("insecure-plaintext")
		if plain {
			op.console.Say("warning: the peer %s is not asked: ws:// is not encrypted, and --insecure-plaintext "+
				"was not given",
				p.Address())
		}
		return plain || core.RefuseSelf([]core.Peer{p}, self, listen) != nil
	})
}

// Plugins is the host of this data directory's plugins.
func (op *Opener) Plugins() *plugins.Host {
	limits := op.flags.Settings.Limits
	return &plugins.Host{
		Path: plugins.SearchPath(string(op.dir)), Told: plugins.ToldPath(), Sockets: op.dir.Path("plugin-sockets"),
		Hidden: string(op.dir),
		Lock:   op.dir.Path("bkp.lock.toml"), Inside: shippedNames(), Config: op.flags.Settings.Plugins,
		StartTimeout: limits.Start, CallTimeout: limits.Answer, Memory: limits.Memory, Processes: limits.Processes,
		Log: op.console.Log(slog.LevelWarn),
	}
}
