// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
	"github.com/bkp-tool/bkp/plugins/verifiers/signature"
	"github.com/bkp-tool/bkp/plugins/verifiers/targets"
)

// mesh is nodes on data directories of their own, all below one recorder, in a network in memory and inside a synctest
// bubble. Every control message that leaves a node is a promise; it is noted before anybody can see it.
type mesh struct {
	*powered
	net    *linktest.Net
	random *rand.ChaCha8
	owner  *key.Owner
	nodes  map[string]*member

	again   bool // it was placed before it is recorded: receipts come that no ref tells of yet
	unnoted bool // a backup's notes of windows may be lost: the next one only sends more
}

// member is a node of a mesh.
type member struct {
	*commands.Node
	name   string
	root   string // its house is below
	signer *key.Signer
	opened io.Closer
}

// sourceName is the member that owns the files, and otherName another machine of its owner.
const (
	sourceName = "a"
	otherName  = "z"
)

// newMesh makes data directories, and the versions of the source that recording is to begin with.
func newMesh(t *testing.T, seed int, names ...string) *mesh {
	t.Helper()
	root := durabletest.Dir(t)
	m := &mesh{random: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 3}), nodes: map[string]*member{}}
	for _, name := range names {
		signer, err := key.NewSigner(m.random)
		check(t, err)
		m.nodes[name] = &member{name: name, root: filepath.Join(root, name), signer: signer}
		check(t, homeIn(m.nodes[name].root).Make())
		seed := signer.Seed()
		check(t, durable.New(homeIn(m.nodes[name].root).Path("node.key"), []byte(hex.EncodeToString(seed[:])), 0o600))
	}
	var err error
	m.owner, err = key.NewOwner(m.random)
	check(t, err)
	text, err := m.owner.Marshal("")
	check(t, err)
	check(t, durable.New(homeIn(m.nodes[sourceName].root).Path("identity"), text, 0o600))
	m.powered = &powered{t: t, root: m.nodes[sourceName].root, random: rand.New(m.random)}
	return m
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// record begins.
func (m *mesh) record() {
	m.t.Helper()
	m.Recorder = durabletest.Record(m.t, filepath.Dir(m.root))
}

// start starts the nodes with a network between them, which lasts until stop.
func (m *mesh) start(t *testing.T, rate string) {
	t.Helper()
	m.net = linktest.New()
	m.net.Delay = time.Millisecond
	m.net.Buffer = 64 << 10
	var before []string
	for _, name := range m.names() {
		check(t, m.nodes[name].start(t, m, before))
		before = append(before, "wss://"+name+":8001-"+rate)
	}
	time.Sleep(3 * time.Second) // they meet
	synctest.Wait()
}

func (m *mesh) names() (names []string) {
	for name := range m.nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (m *mesh) stop(t *testing.T) {
	for _, x := range m.nodes {
		if x.Node != nil {
			check(t, errors.Join(x.Close(), x.opened.Close()))
			x.Node = nil
		}
	}
}

// stores opens what a node stands on.
func (x *member) stores(root string) (conf commands.Config, opened *datadir.Stores, err error) {
	conf.Signer = x.signer
	if opened, err = homeIn(root).OpenStores(x.signer, datadir.Told{}); err != nil {
		return conf, nil, err
	}
	conf.Staging, conf.Away = opened.Staging, opened.Offloaded
	conf.Keeping, conf.Holdings, conf.Ledger = opened.Keeping, opened.Holdings, opened.Ledger
	return conf, opened, nil
}

func (x *member) start(t *testing.T, m *mesh, peers []string) (err error) {
	conf, opened, err := x.stores(x.root)
	if err != nil {
		return err
	}
	x.opened = opened
	h := homeIn(x.root)
	conf.Listen, conf.Capacity, conf.Strict = x.name+":8001", core.GiB, true
	conf.Token = []byte("a token of the tests, long enough")
	conf.Refs, conf.Cut, conf.Dial = h.Refs(), h.CutFile, m.net.From(x.name)
	conf.Placed = h.Placements()
	if m.Recorder != nil {
		conf.Trace = promises{x.name, m.Recorder, map[string]said{}}
	}
	conf.Verifiers = []keep.NamedVerifier{
		{Name: "signature", Verifier: signature.New()}, {Name: "targets", Verifier: targets.New()},
	}
	conf.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	conf.Strategy = func(context.Context, string) (core.Strategy, io.Closer, error) {
		return seed.New(), io.NopCloser(nil), nil
	}
	if x.name == sourceName || x.name == otherName {
		conf.Owner = func() (*key.Owner, error) { return m.owner, nil }
	}
	if conf.Peers, err = core.ParsePeers(strings.Join(peers, ",")); err != nil {
		return err
	}
	if conf.Pins, err = h.OpenPins(h); err != nil {
		return err
	}
	if conf.Listener, err = m.net.Listen(conf.Listen); err != nil {
		return err
	}
	x.Node, err = commands.Start(t.Context(), conf)
	return err
}

// said is a control message of a node, as far as it promises something, or asks for a release.
type said struct {
	by      string // which node sent or, where sent is false, got it
	sent    bool
	kind    string // its type
	task    core.TaskID
	segment int
	licence core.LicenseID // of STORAGE_TASK
	receipt *core.Receipt  // of TRANSMISSION_COMPLETE
	ref     core.HeldRef   // of the REF_PUT that REF_OK answers
}

// allCopies is what the source's command reported: the version has its copies.
type allCopies struct{ numbered }

// promises takes the lines of a node's trace, one after another.
type promises struct {
	by string
	*durabletest.Recorder
	asked map[string]said // what the node will answer, by peer and query
}

func (p promises) Write(line []byte) (int, error) {
	var l struct {
		Dir     string
		Peer    core.ID
		Message json.RawMessage
	}
	var kind struct{ Type string }
	err := json.Unmarshal(line, &l)
	if err == nil {
		err = json.Unmarshal(l.Message, &kind)
	}
	if err == nil {
		err = p.heard(said{by: p.by, sent: l.Dir == "sent", kind: kind.Type}, l.Peer, l.Message)
	}
	if err != nil {
		panic(fmt.Sprintf("%v: %s", err, line))
	}
	return len(line), nil
}

// heard notes a message where it is one that counts.
func (p promises) heard(s said, peer core.ID, message []byte) error {
	counts := []string{"STORAGE_TASK", "TASK_AGREE", "TRANSMISSION_COMPLETE", "REF_PUT", "REF_OK", "RELEASE",
		"RELEASE_DONE"}
	if !slices.Contains(counts, s.kind) {
		return nil
	}
	var m struct {
		Query    uint64
		Code     core.Reason
		Owner    core.ID
		Task     core.TaskID
		Segment  int
		License  struct{ ID core.LicenseID }
		Receipt  *core.Receipt
		Envelope []byte
		Alias    string
		Version  int
		Ref      []byte
		Records  []core.Chunk
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return err
	}
	query := fmt.Sprint(peer, m.Query)
	s.task, s.segment, s.licence, s.receipt = m.Task, m.Segment, m.License.ID, m.Receipt
	switch answered, asked := p.asked[query]; {
	case s.kind == "REF_PUT" && !s.sent && m.Ref != nil:
		s.ref = core.HeldRef{Owner: m.Owner, Alias: m.Alias, Version: m.Version, Task: m.Task, Envelope: m.Ref,
			Records: m.Records}
		p.asked[query] = s
	case s.kind == "RELEASE" && !s.sent:
		r, err := key.OpenRelease(m.Envelope)
		if err != nil {
			return err
		}
		s.task = r.Task
		p.asked[query] = s
		p.Promise(s)
	case (s.kind == "REF_OK" || s.kind == "RELEASE_DONE") && s.sent && asked && m.Code == core.ReasonNone:
		delete(p.asked, query)
		s.task, s.ref = answered.task, answered.ref
		p.Promise(s)
	case (s.kind == "STORAGE_TASK" || s.kind == "TASK_AGREE") && s.sent, s.kind == "TRANSMISSION_COMPLETE" &&
		s.receipt != nil:
		p.Promise(s)
	}
	return nil
}
