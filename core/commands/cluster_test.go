// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/keep/keeptest"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/staging"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/holdings"
	mostfree "github.com/bkp-tool/bkp/plugins/strategies/most-free"
	"github.com/bkp-tool/bkp/plugins/strategies/nearest"
	"github.com/bkp-tool/bkp/plugins/strategies/reliable"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
	"github.com/bkp-tool/bkp/plugins/verifiers/signature"
	"github.com/bkp-tool/bkp/plugins/verifiers/targets"
)

// long is said by tests that take more than ten seconds under the race detector. The others drive the same goroutines.
func long(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: runs without -short")
	}
}

// virtual runs a test in virtual time, beside others: each waits for the disk now and then.
func virtual(t *testing.T, test func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, test)
}

// loop is the function that runs a node's events.
const loop = "github.com/bkp-tool/bkp/core/node.(*state).loop"

// complaints is a test that only listens.
type complaints struct {
	testing.TB
	heard atomic.Int32
}

func (c *complaints) Errorf(string, ...any) { c.heard.Add(1) }

// askingLog asks something wherever a line is logged.
type askingLog struct{ watch *keeptest.OffLoop }

func (l askingLog) Write(p []byte) (int, error) {
	l.watch.Called("the log")
	return len(p), nil
}

// TestLoopIsSeen: calls on the loop of a node are seen as such, so that the nodes of these tests make none.
func TestLoopIsSeen(t *testing.T) {
	virtual(t, func(t *testing.T) {
		told := &complaints{TB: t}
		c := newCluster(t)
		c.start("a", "", func(conf *commands.Config) {
			conf.Log = slog.New(slog.NewTextHandler(askingLog{keeptest.NewOffLoop(told, loop)}, nil))
		})
		c.start("b", "a-20MiB") // that it came is logged on the loop
		c.settle()
		if told.heard.Load() == 0 {
			t.Error("nothing is seen to be asked on the loop: is that its name?")
		}
	})
}

// cluster is a network of nodes in memory, with stores on the test's own disk. It lives inside a synctest bubble.
type cluster struct {
	t      *testing.T
	net    *linktest.Net
	random *rand.ChaCha8
	owner  *key.Owner
	token  []byte
	nodes  map[string]*member
}

// member is one node and what it stands on.
type member struct {
	*commands.Node
	cluster  *cluster
	name     string
	dir      string
	signer   *key.Signer
	staging  *disk.Store
	away     *disk.Away
	keeping  *disk.Store
	holdings *holdings.Holdings
	refs     *memoryRefs
	placed   *placements.Records
	ledger   *keeptest.Ledger
	trace    *bytes.Buffer
	log      lines
	setup    func(*commands.Config)
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, net: linktest.New(), random: rand.NewChaCha8([32]byte{1}),
		token: []byte("a token of the tests, long enough"), nodes: map[string]*member{}}
	c.net.Delay = time.Millisecond
	c.net.Buffer = 64 << 10
	owner, err := key.NewOwner(c.random)
	check(t, err)
	c.owner = owner
	t.TempDir() // made before the nodes' own, the first one is removed after they are stopped
	t.Cleanup(func() {
		for _, m := range c.nodes {
			m.stop()
		}
	})
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a node; the peer list names others with this side's figure, as "b-10MiB,c-5MiB". The first node owns the
// files.
func (c *cluster) start(name, peers string, setup ...func(*commands.Config)) *member {
	c.t.Helper()
	signer, err := key.NewSigner(c.random)
	check(c.t, err)
	m := &member{cluster: c, name: name, dir: filepath.Join(c.t.TempDir(), name), signer: signer, refs: &memoryRefs{},
		ledger: &keeptest.Ledger{Node: signer.ID()}}
	m.setup = func(conf *commands.Config) {
		var list []string
		for entry := range strings.SplitSeq(peers, ",") {
			if host, rate, ok := strings.Cut(entry, "-"); ok {
				list = append(list, "wss://"+host+":8001-"+rate)
			}
		}
		conf.Peers, err = core.ParsePeers(strings.Join(list, ","))
		check(c.t, err)
		for _, f := range setup {
			f(conf)
		}
	}
	c.nodes[name] = m
	m.run()
	return m
}

// run opens what the node stands on and starts it.
func (m *member) run() {
	t := m.cluster.t
	t.Helper()
	var err error
	m.staging, err = disk.Open(filepath.Join(m.dir, "staging"))
	check(t, err)
	m.away, err = disk.OpenAway(filepath.Join(m.dir, "away"))
	check(t, err)
	m.keeping, err = disk.Open(filepath.Join(m.dir, "holdings"))
	check(t, err)
	m.holdings, err = holdings.Open(filepath.Join(m.dir, "holdings.db"), true)
	check(t, err)
	l, err := m.cluster.net.Listen(m.name + ":8001")
	check(t, err)
	m.placed = placements.OpenRecords(filepath.Join(m.dir, "placements"))
	m.trace = &bytes.Buffer{}
	watch := keeptest.NewOffLoop(t, loop)
	m.ledger.Watch, m.refs.watch = watch, watch
	conf := commands.Config{
		Config: node.Config{Signer: m.signer, Listen: m.name + ":8001", Listener: l, Capacity: 1 * core.GiB,
			Token: m.cluster.token, Keeping: keeptest.DiskStore{Store: m.keeping, Watch: watch, Name: "keeping"},
			Holdings: keeptest.Holdings{Holdings: m.holdings, Watch: watch}, Ledger: m.ledger,
			Strict: true, Dial: m.cluster.net.From(m.name), Trace: m.trace,
			Verifiers: []keep.NamedVerifier{{Name: "signature", Verifier: signature.New()},
				{Name: "targets", Verifier: targets.New()}},
			Log: slog.New(slog.NewTextHandler(testLog{t, m}, &slog.HandlerOptions{Level: slog.LevelWarn}))},
		Owned: commands.Owned{Staging: keeptest.DiskStore{Store: m.staging, Watch: watch, Name: "staging"},
			Away: awayOffLoop{m.away, watch}, Refs: m.refs, Placed: m.placed, Strategy: shippedStrategy},
	}
	m.setup(&conf)
	m.Node, err = commands.Start(t.Context(), conf)
	check(t, err)
}

// byID finds a node by its identity.
func (c *cluster) byID(id core.ID) *member {
	c.t.Helper()
	for _, m := range c.nodes {
		if m.signer.ID() == id {
			return m
		}
	}
	c.t.Fatalf("no node %s", id)
	return nil
}

// settle gives the nodes time to meet.
func (c *cluster) settle() {
	time.Sleep(3 * time.Second)
	synctest.Wait()
}

// stop ends the node in order.
func (m *member) stop() {
	if m.Node == nil {
		return
	}
	if err := m.Node.Close(); err != nil {
		m.cluster.t.Errorf("close %s: %v", m.name, err)
	}
	m.Node = nil
	m.staging.Close()
	m.away.Close()
	m.keeping.Close()
	m.holdings.Close()
}

// owned makes a node the owner's.
func (c *cluster) owned(conf *commands.Config) {
	conf.Owner = func() (*key.Owner, error) { return c.owner, nil }
}

type testLog struct {
	t *testing.T
	*member
}

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s: %s", l.name, bytes.TrimSpace(p))
	l.log.add(p)
	return len(p), nil
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex
	text []byte
}

func (l *lines) add(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
}

func (l *lines) Len() int { return len(l.String()) }

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func shippedStrategy(_ context.Context, name string) (core.Strategy, io.Closer, error) {
	shipped := map[string]func() core.Strategy{"seed": seed.New, "nearest": nearest.New, "most-free": mostfree.New,
		"reliable": reliable.New}
	if shipped[name] == nil {
		return nil, nil, core.Fail(core.CodePlugin, "no strategy %q", name)
	}
	return shipped[name](), io.NopCloser(nil), nil
}

// awayOffLoop is notes of what peers keep that are never asked on the loop.
type awayOffLoop struct {
	*disk.Away
	watch *keeptest.OffLoop
}

func (a awayOffLoop) Note(ctx context.Context, c core.Chunk, id core.Hash, copies int) error {
	a.watch.Called("away.Note")
	return a.Away.Note(ctx, c, id, copies)
}

func (a awayOffLoop) Find(ctx context.Context, id core.Hash) (core.Chunk, int, bool, error) {
	a.watch.Called("away.Find")
	return a.Away.Find(ctx, id)
}

func (a awayOffLoop) Barrier(ctx context.Context) error {
	a.watch.Called("away.Barrier")
	return a.Away.Barrier(ctx)
}

func (a awayOffLoop) Collect(ctx context.Context, kept func(core.Hash) bool) (core.Collected, error) {
	a.watch.Called("away.Collect")
	return a.Away.Collect(ctx, kept)
}

// memoryRefs is DATA/refs in memory.
type memoryRefs struct {
	watch *keeptest.OffLoop
	mu    sync.Mutex
	refs  []staging.StoredRef
	gone  []staging.StoredRef
}

func (r *memoryRefs) List() ([]staging.StoredRef, error) {
	r.watch.Called("refs.List")
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.refs), nil
}

func (r *memoryRefs) Put(alias string, version int, envelope []byte) error {
	r.watch.Called("refs.Put")
	r.Remove(alias, version)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refs = append(r.refs, staging.StoredRef{Alias: alias, Version: version, Envelope: envelope})
	return nil
}

func (r *memoryRefs) Remove(alias string, version int) error {
	r.watch.Called("refs.Remove")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refs = slices.DeleteFunc(r.refs, func(s staging.StoredRef) bool { return s.Alias == alias && s.Version == version })
	return nil
}

func (r *memoryRefs) Learn(alias string, version int, tombstone []byte) error {
	r.watch.Called("refs.Learn")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = append(r.gone, staging.StoredRef{Alias: alias, Version: version, Envelope: tombstone})
	return nil
}

func (r *memoryRefs) Forget(alias string, version int) error {
	r.watch.Called("refs.Forget")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = slices.DeleteFunc(r.gone, func(s staging.StoredRef) bool { return s.Alias == alias && s.Version == version })
	return nil
}

func (r *memoryRefs) Tombstones() ([]staging.StoredRef, error) {
	r.watch.Called("refs.Tombstones")
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.gone), nil
}

func (r *memoryRefs) SetAway(alias string, version int, away bool) error {
	r.watch.Called("refs.SetAway")
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.refs {
		if r.refs[i].Alias == alias && r.refs[i].Version == version {
			r.refs[i].Away = away
		}
	}
	return nil
}

// content is size bytes that do not compress, the same for the same seed.
func content(seed byte, size int) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// split cuts data into the node's staging, and makes a version of it known, as `bkp split` does.
func (m *member) split(name string, version int, data []byte) {
	m.splitBy(chunk.Params{Method: "cdc", Min: 4 << 10, Avg: 16 << 10, Max: 64 << 10}, name, version, data)
}

func (m *member) splitBy(params chunk.Params, name string, version int, data []byte) {
	t := m.cluster.t
	t.Helper()
	owner := m.cluster.owner
	secrets := chunk.NewSecrets(owner.DedupSecret)
	sealer, err := chunk.NewSealer(secrets, chunk.LevelDefault)
	check(t, err)
	cutter := chunk.NewCutter(secrets, params)
	stager := stager{sealer: sealer, member: m}
	refs, err := m.refs.List()
	check(t, err)
	stager.cover, err = staging.CoverOf(m.cluster.t.Context(), owner, refs, m.staging)
	check(t, err)
	tree := manifest.NewBuilder(stager)
	for rest := data; len(rest) > 0; {
		size := cutter.Next(rest, true)
		sealed, err := stager.seal(core.KindChunk, rest[:size])
		check(t, err)
		check(t, tree.Add(sealed))
		rest = rest[size:]
	}
	root, err := tree.Finish(manifest.Info{Size: core.Size(len(data)), Method: params.Method, Min: params.Min,
		Avg: params.Avg, Max: params.Max})
	check(t, err)
	check(t, m.staging.Barrier(m.cluster.t.Context()))
	envelope, err := owner.SealRef(key.Ref{Version: version, Created: time.Now().Unix()},
		key.RefBody{Name: name, Root: root, Size: core.Size(len(data))})
	check(t, err)
	check(t, m.refs.Put(owner.Alias(name), version, envelope))
}

// stager seals into staging what neither that nor a peer has.
type stager struct {
	sealer *chunk.Sealer
	*member
	cover *staging.Cover
}

func (s stager) SealNode(plain []byte) (core.Sealed, error) { return s.seal(core.KindNode, plain) }

func (s stager) seal(kind core.Kind, plain []byte) (core.Sealed, error) {
	ctx := s.cluster.t.Context()
	id, k := s.sealer.Identify(kind, plain)
	if c, copies, ok, err := s.away.Find(ctx, id); err == nil && ok && s.cover.Copies(c.Hash) >= copies {
		return core.Sealed{Hash: c.Hash, Size: c.Size, Key: k, Plain: core.Size(len(plain))}, nil
	}
	stored, err := s.sealer.Seal(nil, kind, k, plain)
	if err != nil {
		return core.Sealed{}, err
	}
	sealed := core.Sealed{Hash: chunk.Hash(stored), Size: core.Size(len(stored)), Key: k, Plain: core.Size(len(plain))}
	_, err = s.staging.Put(ctx, core.Chunk{Hash: sealed.Hash, Size: sealed.Size}, id, stored)
	return sealed, err
}

func quiet(control.Status) {}

// place places a version and fails the test where that fails.
func (m *member) place(args control.PlaceArgs) control.PlaceResult {
	t := m.cluster.t
	t.Helper()
	if args.Strategy == "" {
		args.Strategy = "seed"
	}
	result, err := m.Place(t.Context(), args, quiet)
	check(t, err)
	return result
}

// fetch brings a version back and compares it with want.
func (m *member) fetch(name string, version int, want []byte) control.FetchResult {
	t := m.cluster.t
	t.Helper()
	path := filepath.Join(t.TempDir(), "fetched")
	result, err := m.Fetch(t.Context(), control.FetchArgs{Name: name, Version: version, Output: path}, quiet)
	check(t, err)
	got, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("fetched %d bytes of %s that differ from the %d placed", len(got), name, len(want))
	}
	return result
}
