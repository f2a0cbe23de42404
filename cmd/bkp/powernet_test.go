package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
	"github.com/bkp-tool/bkp/plugins/verifiers/signature"
	"github.com/bkp-tool/bkp/plugins/verifiers/targets"
)

// mesh is nodes on data directories of their own, all below one recorder, in a network in memory and inside a synctest bubble. Every
// control message that leaves a node is a promise; it is noted before anybody can see it.
type mesh struct {
	*powered
	net    *linktest.Net
	random *rand.ChaCha8
	owner  *key.Owner
	nodes  map[string]*member

	unnoted bool // a backup's notes of windows may be lost: the next one only sends more
}

// member is a node of a mesh.
type member struct {
	*node.Node
	name   string
	root   string // its house is below
	signer *key.Signer
	opened closing
}

// sourceName is the member that owns the files.
const sourceName = "a"

// newMesh makes data directories, and the versions of the source that recording is to begin with.
func newMesh(t *testing.T, seed int, names ...string) *mesh {
	t.Helper()
	root := durabletest.Dir(t)
	m := &mesh{random: rand.NewChaCha8([32]byte{byte(seed), 3}), nodes: map[string]*member{}}
	for _, name := range names {
		signer, err := key.NewSigner(m.random)
		check(t, err)
		m.nodes[name] = &member{name: name, root: filepath.Join(root, name), signer: signer}
		check(t, homeIn(m.nodes[name].root).make())
	}
	var err error
	m.owner, err = key.NewOwner(m.random)
	check(t, err)
	text, err := m.owner.Marshal("")
	check(t, err)
	check(t, durable.New(homeIn(m.nodes[sourceName].root).path("identity"), text, 0o600))
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

// rooms opens what a node stands on.
func (x *member) rooms(root string) (conf node.Config, opened closing, err error) {
	conf.Signer = x.signer
	opened, err = (&call{house: homeIn(root)}).rooms(&conf)
	if err != nil {
		_ = opened.Close()
	}
	return conf, opened, err
}

func (x *member) start(t *testing.T, m *mesh, peers []string) (err error) {
	conf, opened, err := x.rooms(x.root)
	if err != nil {
		return err
	}
	x.opened = opened
	h := homeIn(x.root)
	conf.Listen, conf.Capacity, conf.Token, conf.Strict = x.name+":8001", core.GiB, []byte("a token of the tests, long enough"), true
	conf.Refs, conf.Assemble, conf.Cut, conf.Dial, conf.Trace = h.refs(), assemble, h.cutFile, m.net.From(x.name), promises{x.name, m.Recorder, map[string]said{}}
	conf.Verifiers = []node.NamedVerifier{{Name: "signature", Verifier: signature.New()}, {Name: "targets", Verifier: targets.New()}}
	conf.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	conf.Strategy = func(context.Context, string) (core.Strategy, io.Closer, error) {
		return seed.New(), io.NopCloser(nil), nil
	}
	if x.name == sourceName {
		conf.Owner = func() (*key.Owner, error) { return m.owner, nil }
	}
	if conf.Peers, err = core.ParsePeers(strings.Join(peers, ",")); err != nil {
		return err
	}
	if conf.Pins, err = openPins(h.path("pins.json")); err != nil {
		return err
	}
	if conf.Listener, err = m.net.Listen(conf.Listen); err != nil {
		return err
	}
	x.Node, err = node.Start(t.Context(), conf)
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
	if !slices.Contains([]string{"STORAGE_TASK", "TASK_AGREE", "TRANSMISSION_COMPLETE", "REF_PUT", "REF_OK", "RELEASE", "RELEASE_DONE"}, s.kind) {
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
		s.ref = core.HeldRef{Owner: m.Owner, Alias: m.Alias, Version: m.Version, Task: m.Task, Envelope: m.Ref, Records: m.Records}
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
	case s.kind == "STORAGE_TASK" && s.sent, s.kind == "TASK_AGREE" && s.sent, s.kind == "TRANSMISSION_COMPLETE" && s.receipt != nil:
		p.Promise(s)
	}
	return nil
}

// remains is what a node's data directory holds after a power loss.
type remains struct {
	*member
	home     house
	conf     node.Config
	segments map[core.TaskID]map[int]core.Segment
	licences map[core.LicenseID]core.License
	receipts []core.Receipt
}

// recover opens everything as the node would.
func (x *member) recover(root string) (k *remains, close func() error, err error) {
	k = &remains{member: x, home: homeIn(root), segments: map[core.TaskID]map[int]core.Segment{}, licences: map[core.LicenseID]core.License{}}
	conf, opened, err := x.rooms(root)
	if err != nil {
		return nil, nil, err
	}
	k.conf = conf
	segments, err := conf.Holdings.Segments()
	for _, s := range segments {
		if k.segments[s.Task] == nil {
			k.segments[s.Task] = map[int]core.Segment{}
		}
		k.segments[s.Task][s.Number] = s
	}
	if err == nil {
		err = k.readLedger(conf.Ledger.(*logbook))
	}
	if err != nil {
		return nil, nil, errors.Join(err, opened.Close())
	}
	return k, opened.Close, nil
}

func (k *remains) readLedger(l *logbook) error {
	entries, err := l.Entries(0, 10_000)
	for _, e := range entries {
		switch e.Kind {
		case ledger.KindLicense:
			opened, _, _, openErr := license.Open(e.Envelope)
			k.licences[opened.ID], err = opened, errors.Join(err, openErr)
		case ledger.KindReceipt:
			opened, openErr := license.OpenReceipt(e.Envelope)
			k.receipts, err = append(k.receipts, opened), errors.Join(err, openErr)
		}
	}
	return err
}

// licensed reports whether the ledger has a licence for a segment.
func (k *remains) licensed(task core.TaskID, segment int) bool {
	for _, l := range k.licences {
		if l.Task == task && l.Segment == segment {
			return true
		}
	}
	return false
}

// keepsItsWord holds what is there against what the node said. Of a task that somebody asked it to release nothing must be there, and
// nothing may once it said that it did.
func (k *remains) keepsItsWord(words []any) error {
	asked, done := map[core.TaskID]bool{}, map[core.TaskID]bool{}
	var must []said
	for _, w := range words {
		s, ok := w.(said)
		if !ok || s.by != k.name {
			continue
		}
		switch s.kind {
		case "RELEASE":
			asked[s.task] = true
		case "RELEASE_DONE":
			done[s.task] = true
		case "TASK_AGREE":
			asked[s.task], done[s.task] = false, false
			must = append(must, s)
		default:
			must = append(must, s)
		}
	}
	for i, s := range must {
		if err := k.keeps(s, asked[s.task], must[i+1:]); err != nil {
			return fmt.Errorf("%s said %s: %w", k.name, s.kind, err)
		}
	}
	for task := range k.segments {
		if done[task] {
			return fmt.Errorf("%s said that task %s is released, and it is back", k.name, task)
		}
	}
	return k.agrees()
}

// keeps holds what is there against one message.
func (k *remains) keeps(s said, released bool, later []said) error {
	switch {
	case s.kind == "STORAGE_TASK":
		if _, ok := k.licences[s.licence]; !ok {
			return fmt.Errorf("the ledger has no licence %s", s.licence)
		}
	case s.kind == "TASK_AGREE" && !released:
		if _, ok := k.segments[s.task][s.segment]; !ok {
			return fmt.Errorf("segment %d of task %s is not there", s.segment, s.task)
		}
		if !k.licensed(s.task, s.segment) {
			return fmt.Errorf("the ledger has no licence for segment %d of task %s", s.segment, s.task)
		}
	case s.kind == "TRANSMISSION_COMPLETE" && s.sent:
		if !k.receipted(*s.receipt) {
			return fmt.Errorf("the ledger has no such receipt")
		}
		if !released {
			return k.holds(*s.receipt)
		}
	case s.kind == "REF_OK" && !released:
		return k.holdsRef(s, later)
	}
	return nil
}

func (k *remains) receipted(r core.Receipt) bool {
	return slices.ContainsFunc(k.receipts, func(x core.Receipt) bool {
		return x.License == r.License && x.Target == r.Target && x.Previous == r.Previous && slices.Equal(x.Runs, r.Runs)
	})
}

// holds reports that every run of a receipt is a holding, and its chunks are in the packs.
func (k *remains) holds(r core.Receipt) error {
	holdings, err := k.conf.Holdings.Kept(r.Task, r.Segment)
	if err != nil {
		return err
	}
	for _, span := range r.Runs {
		for run := span.Start; run < span.Start+span.Length; run++ {
			at := slices.IndexFunc(holdings, func(h core.Holding) bool { return h.Number == run })
			if at < 0 {
				return fmt.Errorf("run %d of segment %d is no holding", run, r.Segment)
			}
			for i, c := range holdings[at].Chunks {
				if holdings[at].Kept.Has(i) {
					if err := k.has(k.conf.Keeping, c.Hash); err != nil {
						return fmt.Errorf("run %d of segment %d: %w", run, r.Segment, err)
					}
				}
			}
		}
	}
	return nil
}

// holdsRef reports that a ref is there with its records, or a later one of the same version.
func (k *remains) holdsRef(s said, later []said) error {
	refs, err := k.conf.Holdings.Refs(s.ref.Owner)
	if err != nil {
		return err
	}
	for _, l := range later {
		if l.kind == "REF_OK" && l.ref.Alias == s.ref.Alias && l.ref.Version == s.ref.Version {
			return nil
		}
	}
	for _, r := range refs {
		if r.Alias != s.ref.Alias || r.Version != s.ref.Version {
			continue
		}
		for _, c := range r.Records {
			if err := k.has(k.conf.Keeping, c.Hash); err != nil {
				return fmt.Errorf("a record of version %d: %w", r.Version, err)
			}
		}
		return nil
	}
	return fmt.Errorf("version %d of %.8s is not there", s.ref.Version, s.ref.Alias)
}

// agrees holds the node's records against each other: every holding has an accepted licence, and is in the packs; what this node
// receipted, and keeps a segment of, it holds.
func (k *remains) agrees() error {
	for task, segments := range k.segments {
		for number := range segments {
			holdings, err := k.conf.Holdings.Kept(task, number)
			if err != nil {
				return err
			}
			if len(holdings) > 0 && !k.licensed(task, number) {
				return fmt.Errorf("%s holds runs of segment %d of task %s without a licence in its ledger", k.name, number, task)
			}
		}
	}
	for _, r := range k.receipts {
		if _, there := k.segments[r.Task][r.Segment]; there && r.Target == k.signer.ID() {
			if err := k.holds(r); err != nil {
				return fmt.Errorf("%s receipted: %w", k.name, err)
			}
		}
	}
	var lost error
	err := k.conf.Holdings.Live(func(c core.Chunk) { lost = cmp.Or(lost, k.has(k.conf.Keeping, c.Hash)) })
	if err = errors.Join(err, lost); err != nil {
		return err
	}
	found, err := node.CheckRecords(context.Background(), k.conf.Holdings, k.conf.Keeping, k.conf.Ledger) // what a power loss leaves is no damage
	return errors.Join(err, found.Err())
}

func (k *remains) has(s storage.Store, hash core.Hash) error {
	_, err := s.Get(context.Background(), hash, nil)
	return err
}

// survives holds the whole mesh against what was said: each node's own word, and that of the source to its owner: every version can be
// read from what it has staged and, where it let go of that, from as many targets as were asked for, with a note of what went.
func (m *mesh) survives(roots []string, words []any, replicas int) (err error) {
	all := map[string]*remains{}
	for name, x := range m.nodes {
		k, close, openErr := x.recover(filepath.Join(roots[0], name))
		if openErr != nil {
			return fmt.Errorf("%s: %w", name, openErr)
		}
		defer func() { err = errors.Join(err, close()) }()
		all[name] = k
	}
	for _, k := range all {
		if err := k.keepsItsWord(words); err != nil {
			return err
		}
	}
	source := all[sourceName]
	if err := source.toldOwner(m.owner, words); err != nil {
		return err
	}
	versions, err := source.home.refs().open(m.owner)
	if err != nil {
		return err
	}
	there := map[numbered]versionRef{}
	for _, v := range versions {
		there[numbered{v.body.Name, v.ref.Version}] = v
	}
	for id, f := range fates(words) {
		v, ok := there[id]
		switch {
		case !ok && f.must:
			return fmt.Errorf("%v is lost", id)
		case ok && !f.may:
			return fmt.Errorf("%v is there, and should not be", id)
		case ok && f.may:
			if err := m.readable(v, f.content, all, replicas); err != nil {
				return fmt.Errorf("%v: %w", id, err)
			}
		}
	}
	checkpoints, err := source.home.refs().Unfinished()
	for _, r := range checkpoints {
		v, openErr := openRef(m.owner, r)
		if err = errors.Join(err, openErr); err == nil {
			err = m.readable(v, nil, all, replicas)
		}
	}
	if err != nil {
		return fmt.Errorf("a checkpoint: %w", err)
	}
	return nil
}

// toldOwner holds the source's ledger against what place reported, and against its refs and checkpoints: the receipts of a task are in
// the one before anything says that the task is placed.
func (k *remains) toldOwner(o *key.Owner, words []any) error {
	told := map[core.TaskID]bool{}
	for _, list := range []func() ([]node.StoredRef, error){k.home.refs().List, k.home.refs().Unfinished} {
		refs, err := list()
		if err != nil {
			return err
		}
		for _, r := range refs {
			v, err := openRef(o, r)
			if err != nil {
				return err
			}
			told[v.body.Task] = len(v.body.Records) > 0
			for _, r := range v.body.Records {
				if err := k.has(k.conf.Staging, r.Hash); err != nil {
					return fmt.Errorf("a segment record of %s@%d: %w", v.body.Name, v.ref.Version, err)
				}
			}
		}
	}
	var came []core.Receipt
	for _, w := range words {
		switch w := w.(type) {
		case said:
			if w.by == k.name && w.kind == "TRANSMISSION_COMPLETE" && !w.sent {
				came = append(came, *w.receipt)
			}
		case allCopies:
			for _, r := range came {
				told[r.Task] = true
			}
		}
	}
	for _, r := range came {
		if told[r.Task] && !k.receipted(r) {
			return fmt.Errorf("task %s is placed, and a receipt of it is not in the source's ledger", r.Task)
		}
	}
	return nil
}

// readable reads a version from what the source has staged, else from as many targets as there are to be copies.
func (m *mesh) readable(v versionRef, want []byte, all map[string]*remains, replicas int) error {
	source := all[sourceName]
	sealer, err := chunk.NewSealer(chunk.NewSecrets(m.owner.DedupSecret), chunk.LevelDefault)
	if err != nil {
		return err
	}
	local := &localChunks{ctx: context.Background(), stores: []chunkStore{source.conf.Staging.(*disk.Store)}, opener: chunk.NewOpener()}
	var got []byte
	err = manifest.Walk(v.body.Root, local, func(e manifest.Entry) error {
		stored, err := local.Get(context.Background(), e.Chunk.Hash, nil)
		copies := 0
		for name, k := range all {
			if err == nil || name == sourceName {
				continue
			}
			if at, err := k.conf.Keeping.Get(context.Background(), e.Chunk.Hash, nil); err == nil {
				stored = at
				copies++
			}
		}
		if err != nil && copies < replicas {
			return fmt.Errorf("a chunk is staged no more, and %d targets have it", copies)
		}
		plain, openErr := local.opener.OpenSealed(nil, core.KindChunk, e.Chunk, stored)
		if got = append(got, plain...); openErr != nil || err == nil || m.unnoted {
			return openErr
		}
		id, _ := sealer.Identify(core.KindChunk, plain)
		if noted, _, _, _ := source.conf.Away.Find(context.Background(), id); noted.Hash != e.Chunk.Hash {
			return errors.New("a chunk is staged no more, and no note tells the next split that peers keep it")
		}
		return nil
	})
	if err == nil && want != nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("it has %d bytes that are not the %d of its file", len(got), len(want))
	}
	return err
}

func quiet(node.Status) {}

// TestPowerLossPlace places two versions of which the second reuses runs, forgets the first, and collects at every node.
func TestPowerLossPlace(t *testing.T) {
	m := newMesh(t, 1, "a", "b", "c")
	file := filepath.Join(t.TempDir(), "file")
	var contents [][]byte
	for n := 1; n <= 2; n++ {
		content := m.write(file, 3)
		if n > 1 {
			copy(content, contents[0][:2*block])
			check(t, os.WriteFile(file, content, 0o600))
		}
		contents = append(contents, content)
		m.does("split", file, "--name", "f", "--chunker", "fixed")
	}
	m.record()
	for n, content := range contents {
		m.Promise(word{numbered{"f", n + 1}, content, true})
	}
	synctest.Test(t, func(t *testing.T) {
		m.start(t, "10MiB")
		defer m.stop(t)
		a := m.nodes["a"]
		for n := 1; n <= 2; n++ {
			_, err := a.Place(t.Context(), node.PlaceArgs{Name: "f", Version: n, Replicas: 2, Strategy: "seed"}, quiet)
			check(t, err)
			m.Promise(allCopies{numbered{"f", n}})
		}
		m.Promise(word{numbered{"f", 1}, nil, false})
		_, err := a.Remove(t.Context(), node.RemoveArgs{Name: "f", Version: 1}, quiet)
		check(t, err)
		m.Promise(word{numbered{"f", 1}, nil, true})
		for _, name := range m.names() {
			_, err := m.nodes[name].Collect(t.Context(), node.None{}, quiet)
			check(t, err)
		}
	})
	m.Check(t, durabletest.Budget(12), func(roots []string, words []any) error { return m.survives(roots, words, 2) })
}

// TestPowerLossOfALostTarget has others take over from a target that goes while the bytes move.
func TestPowerLossOfALostTarget(t *testing.T) {
	m := newMesh(t, 2, "a", "b", "c", "d")
	file := filepath.Join(t.TempDir(), "file")
	content := make([]byte, 600<<10) // that does not compress
	m.random.Read(content)
	check(t, os.WriteFile(file, content, 0o600))
	m.does("split", file, "--name", "f", "--chunker", "fixed")
	m.record()
	m.Promise(word{numbered{"f", 1}, content, true})
	synctest.Test(t, func(t *testing.T) {
		m.start(t, "100KiB")
		defer m.stop(t)
		m.lose(t, time.Second)
		others := false
		_, err := m.nodes["a"].Place(t.Context(), node.PlaceArgs{Name: "f", Replicas: 2, Strategy: "seed"}, func(s node.Status) {
			others = others || strings.Contains(s.Text, "go to others")
		})
		check(t, err)
		if !others {
			t.Error("nobody took over")
		}
		m.Promise(allCopies{numbered{"f", 1}})
	})
	m.Check(t, durabletest.Budget(5), func(roots []string, words []any) error { return m.survives(roots, words, 2) })
}

// lose cuts off a target of the placement that is about to begin.
func (m *mesh) lose(t *testing.T, after time.Duration) {
	t.Helper()
	plan, err := m.nodes["a"].Place(t.Context(), node.PlaceArgs{Name: "f", Replicas: 2, Strategy: "seed", DryRun: true}, quiet)
	check(t, err)
	for name, x := range m.nodes {
		if x.signer.ID() == plan.Placements[0].Node {
			time.AfterFunc(after, func() { m.net.Cut(name) })
		}
	}
}

// TestPowerLossBackup backs a file up window by window; it is stopped after the first checkpoint, and goes on there.
func TestPowerLossBackup(t *testing.T) {
	m := newMesh(t, 3, "a", "b", "c")
	m.unnoted = true
	file := filepath.Join(t.TempDir(), "file")
	content := m.write(file, 24)
	m.record()
	m.Promise(word{numbered{"f", 1}, content, false})
	synctest.Test(t, func(t *testing.T) {
		m.start(t, "10MiB")
		defer m.stop(t)
		args := node.BackupArgs{Input: file, Name: "f", Window: core.MiB, Chunker: chunk.MethodFixed, Compression: "default", Replicas: 2, Strategy: "seed"}
		ctx, stop := context.WithCancel(t.Context())
		m.Fail(func(op durabletest.Op) error {
			if op.Kind == "syncdir" && len(checkpointsIn(m.root)) > 0 {
				stop()
			}
			return nil
		})
		if _, err := m.nodes["a"].Backup(ctx, args, quiet); err == nil {
			t.Error("the backup was not stopped")
		}
		m.Fail(nil)
		r, err := m.nodes["a"].Backup(t.Context(), args, quiet)
		check(t, err)
		if r.Resumed == 0 {
			t.Error("it began anew")
		}
		m.Promise(word{numbered{"f", 1}, content, true})
		m.Promise(allCopies{numbered{"f", 1}})
	})
	m.Check(t, durabletest.Budget(8), func(roots []string, words []any) error { return m.survives(roots, words, 2) })
}

func checkpointsIn(root string) []string {
	found, _ := filepath.Glob(homeIn(root).path("refs", "*", "checkpoint"))
	return found
}
