// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/manifest"
)

// powered is a data directory on which commands run, in this process, while a recorder takes down what they do to the
// disk.
type powered struct {
	*durabletest.Recorder
	t      *testing.T
	root   string // what is recorded; the data directory is below it, and made by the first command
	random *rand.Rand
}

// recordBelow begins to record below a directory, the same for the same seed but for what bkp draws.
func recordBelow(t *testing.T, root string, seed int) *powered {
	t.Helper()
	return &powered{durabletest.Record(t, root), t, root, rand.New(rand.NewPCG(uint64(seed), 2))}
}

func homeIn(root string) datadir.Dir { return datadir.Dir(filepath.Join(root, "home", "data")) }

// oneCommand lets one command run at a time: package cli writes to flags of its own, which are global.
var oneCommand sync.Mutex

// bkp runs a command line on the data directory below root and returns its exit code and what it printed.
func bkp(root string, args ...string) (code int, stdout, stderr string) {
	oneCommand.Lock()
	defer oneCommand.Unlock()
	var out, err bytes.Buffer
	words := append(append([]string{"bkp"}, args...), "--data", string(homeIn(root)))
	return run(words, strings.NewReader(""), &out, &err), out.String(), err.String()
}

// does is bkp for a command that must succeed.
func (p *powered) does(args ...string) (stdout string) {
	p.t.Helper()
	code, out, problem := bkp(p.root, args...)
	if code != 0 {
		p.t.Fatalf("bkp %s: code %d: %s", strings.Join(args, " "), code, problem)
	}
	return out
}

// numbered is a name and a number.
type numbered struct {
	name   string
	number int
}

// word is what somebody asked for or was told: that a version shall be there, or go.
type word struct {
	numbered
	content []byte // nil: it goes
	told    bool   // that it is so; else only asked for
}

// fate is what the words that were said make of a version.
type fate struct {
	content   []byte
	must, may bool // be there
}

func fates(words []any) map[numbered]fate {
	all := map[numbered]fate{}
	for _, w := range words {
		w, ok := w.(word)
		if !ok {
			continue
		}
		f := all[w.numbered]
		switch {
		case w.content != nil:
			f = fate{w.content, w.told, true}
		case w.told:
			f.must, f.may = false, false
		default:
			f.must = false
		}
		all[w.numbered] = f
	}
	return all
}

// identityIn is the identity of a data directory; nil where there is none yet.
func identityIn(h datadir.Dir) (*key.Owner, error) {
	text, err := os.ReadFile(h.Path("identity"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return key.ParseOwner(text, "")
}

// dirKeepsItsWord holds a data directory against what was said: every version that must be there is whole, what is
// there beside those is whole and was asked for, so is what a checkpoint stands for, and no number is given twice.
func dirKeepsItsWord(h datadir.Dir, words []any) error {
	o, err := identityIn(h)
	if err != nil {
		return err
	}
	all := fates(words)
	there := map[numbered]bool{}
	if o != nil {
		versions, err := h.Refs().Open(o)
		if err != nil {
			return err
		}
		for _, v := range versions {
			id := numbered{v.Body.Name, v.Ref.Version}
			there[id] = true
			if !all[id].may {
				return fmt.Errorf("%v is there, and should not be", id)
			}
			if err := holdsVersion(h, v, all[id].content); err != nil {
				return fmt.Errorf("%v: %w", id, err)
			}
		}
		checkpoints, err := h.Refs().Unfinished()
		for _, r := range checkpoints {
			v, openErr := datadir.OpenRef(o, r)
			if err = errors.Join(err, openErr); err == nil {
				err = holdsVersion(h, v, nil)
			}
		}
		if err != nil {
			return fmt.Errorf("a checkpoint: %w", err)
		}
	}
	for id, f := range all {
		if f.must && !there[id] {
			return fmt.Errorf("%v is lost", id)
		}
		if (f.must || !f.may) && o != nil {
			if next, err := h.Refs().Coming(o.Alias(id.name)); err != nil || next <= id.number {
				return fmt.Errorf("%v was known, and %d would be given next (%v)", id, next, err)
			}
		}
	}
	return nil
}

// opened is the plain bytes of the chunks that were opened once: the same few are in thousands of states.
var opened sync.Map

// holdsVersion compares a version's content, every chunk of which must be on this machine. nil: it may be any.
func holdsVersion(h datadir.Dir, v datadir.Version, want []byte) error {
	local, err := h.OpenChunks(context.Background())
	if err != nil {
		return err
	}
	defer local.Close()
	var got []byte
	err = manifest.Walk(v.Body.Root, local, func(e manifest.Entry) error {
		if e.Hole() {
			got = append(got, make([]byte, e.Span)...)
			return nil
		}
		stored, err := local.Get(context.Background(), e.Chunk.Hash, nil)
		if err != nil {
			return err
		}
		if chunk.Hash(stored) != e.Chunk.Hash {
			return fmt.Errorf("chunk %s has other bytes", e.Chunk.Hash)
		}
		plain, known := opened.Load(e.Chunk)
		if !known {
			if plain, err = chunk.NewOpener().OpenSealed(nil, core.KindChunk, e.Chunk, stored); err != nil {
				return err
			}
			opened.Store(e.Chunk, plain)
		}
		got = append(got, plain.([]byte)...)
		return nil
	})
	if err == nil && want != nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("it has %d bytes that are not the %d of its file", len(got), len(want))
	}
	return err
}

// goOnEvery is of how many states one is gone on with, which takes longer.
const goOnEvery = 8

// check holds every state against what was said.
func (p *powered) check(budget int, file string) (tried int) {
	p.t.Helper()
	var n atomic.Int64
	n.Store(p.random.Int64N(goOnEvery))
	return p.Check(p.t, budget, func(roots []string, words []any) error {
		if err := dirKeepsItsWord(homeIn(roots[0]), words); err != nil || n.Add(1)%goOnEvery > 0 {
			return err
		}
		return goesOn(roots[0], words, file)
	})
}

// goesOn is what the next commands find: a collection takes nothing that is needed, and a split makes a version more.
func goesOn(root string, words []any, file string) error {
	if code, _, problem := bkp(root, "gc"); code != 0 {
		return fmt.Errorf("gc: code %d: %s", code, problem)
	}
	if err := dirKeepsItsWord(homeIn(root), words); err != nil {
		return fmt.Errorf("after gc: %w", err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if code, _, problem := bkp(root, "split", file, "--name", "later"); code != 0 {
		return fmt.Errorf("split: code %d: %s", code, problem)
	}
	words = append(words[:len(words):len(words)], word{numbered{"later", 1}, content, true})
	if err := dirKeepsItsWord(homeIn(root), words); err != nil {
		return fmt.Errorf("after gc and split: %w", err)
	}
	return nil
}

// block is what --chunker fixed cuts; blocks that are equal are one chunk, and take a few bytes.
const block = 128 << 10

// write makes a file of blocks, drawn from a few.
func (p *powered) write(path string, blocks int) (content []byte) {
	p.t.Helper()
	for range blocks {
		content = append(content, bytes.Repeat([]byte{byte(p.random.IntN(40)), byte(p.random.IntN(2))}, block/2)...)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return content
}

// split makes the next version of a name.
func (p *powered) split(name string, number int, path string, content []byte) {
	p.t.Helper()
	w := word{numbered{name, number}, content, false}
	p.Promise(w)
	p.does("split", path, "--name", name, "--chunker", "fixed")
	w.told = true
	p.Promise(w)
}

// remove forgets versions by a command that is known to take these.
func (p *powered) remove(gone []numbered, args ...string) {
	p.t.Helper()
	for _, told := range []bool{false, true} {
		if told {
			p.does(args...)
		}
		for _, v := range gone {
			p.Promise(word{v, nil, told})
		}
	}
}

// interruptedSplit is one whose disk fails after a checkpoint.
func (p *powered) interruptedSplit(name string, number int, path string, content []byte) {
	p.t.Helper()
	p.Promise(word{numbered{name, number}, content, false})
	checkpoints := 0
	p.Fail(func(op durabletest.Op) error {
		if op.Kind == "rename" && strings.Contains(op.Path, "checkpoint") {
			checkpoints++
		}
		if checkpoints > 0 && op.Kind == "sync" && strings.Contains(op.Path, "staging") {
			return syscall.EIO
		}
		return nil
	})
	code, _, _ := bkp(p.root, "split", path, "--name", name, "--chunker", "fixed")
	p.Fail(nil)
	if code == 0 || checkpoints == 0 {
		p.t.Fatalf("the split ended with code %d after %d checkpoints: it was to fail after one", code, checkpoints)
	}
}

// TestPowerLossSplit makes a data directory and several versions, one of which is interrupted and goes on at its
// checkpoint.
func TestPowerLossSplit(t *testing.T) {
	checkpointEvery = 2 * block
	defer func() { checkpointEvery = 4 * core.GiB }()
	p := recordBelow(t, durabletest.Dir(t), 1)
	file := filepath.Join(t.TempDir(), "file")
	p.split("a", 1, file, p.write(file, 3))
	content := p.write(file, 9)
	p.interruptedSplit("b", 1, file, content)
	p.split("b", 1, file, content)
	p.split("a", 2, file, p.write(file, 2))
	p.check(durabletest.Budget(2), file)
}

// TestPowerLossRemove forgets versions, one by one and by rules, and collects, while new ones come.
func TestPowerLossRemove(t *testing.T) {
	p := recordBelow(t, durabletest.Dir(t), 2)
	file := filepath.Join(t.TempDir(), "file")
	p.split("a", 1, file, p.write(file, 5))
	p.split("a", 2, file, p.write(file, 4))
	p.remove([]numbered{{"a", 2}}, "rm", "a@2")
	p.does("gc")
	p.split("a", 3, file, p.write(file, 3))
	p.split("b", 1, file, p.write(file, 3))
	p.remove([]numbered{{"a", 1}}, "prune", "a", "--keep-last", "1")
	p.does("gc")
	p.remove([]numbered{{"b", 1}}, "rm", "b")
	p.check(durabletest.Budget(2), file)
}

// recordings makes one recording after another, each of its own seed, until a share of all states was tried.
func recordings(share int, record func(seed, budget int) (tried int)) {
	for seed, left := 0, durabletest.Budget(share); left > 0; seed++ {
		left -= record(seed, min(left, 2000))
	}
}

// TestPowerLossCommands draws commands, a few at a time in a new data directory.
func TestPowerLossCommands(t *testing.T) {
	checkpointEvery = 2 * block
	defer func() { checkpointEvery = 4 * core.GiB }()
	recordings(24, func(seed, budget int) int {
		p := recordBelow(t, durabletest.Dir(t), seed)
		file := filepath.Join(t.TempDir(), "file")
		last, there := map[string]int{}, map[string][]numbered{}
		for range 7 {
			name := string("ab"[p.random.IntN(2)])
			versions := there[name]
			switch what := p.random.IntN(10); {
			case what < 6 || len(versions) == 0:
				content := p.write(file, 1+p.random.IntN(8))
				last[name]++
				if what == 0 && len(content) > 5*block {
					p.interruptedSplit(name, last[name], file, content)
				}
				p.split(name, last[name], file, content)
				there[name] = append(versions, numbered{name, last[name]})
			case what == 6:
				at := p.random.IntN(len(versions))
				p.remove(versions[at:at+1], "rm", fmt.Sprintf("%s@%d", name, versions[at].number))
				there[name] = slices.Delete(slices.Clone(versions), at, at+1)
			case what == 7:
				p.remove(versions, "rm", name)
				there[name] = nil
			case what == 8:
				p.remove(versions[:len(versions)-1], "prune", name, "--keep-last", "1")
				there[name] = versions[len(versions)-1:]
			default:
				p.does("gc")
			}
		}
		return p.check(budget, file)
	})
}

// fetched is a file that fetch is to leave, or has left, under a name.
type fetched struct {
	path    string
	content []byte
	told    bool
}

// TestPowerLossFetch fetches into a directory: under a name there is nothing, what was there before, or the whole file.
func TestPowerLossFetch(t *testing.T) {
	root := durabletest.Dir(t)
	p := &powered{t: t, root: root, random: rand.New(rand.NewPCG(3, 2))}
	file := filepath.Join(t.TempDir(), "file")
	var contents [][]byte
	for range 3 {
		contents = append(contents, p.write(file, 12))
		p.does("split", file, "--name", "f", "--chunker", "fixed")
	}
	out := filepath.Join(root, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	p.Recorder = durabletest.Record(t, out)
	fetch := func(name string, number int, more ...string) {
		f := fetched{name, contents[number-1], false}
		p.Promise(f)
		p.does(append([]string{"fetch", fmt.Sprintf("f@%d", number), "-o", filepath.Join(out, name)}, more...)...)
		f.told = true
		p.Promise(f)
	}
	fetch("one", 1)
	fetch("one", 2, "--force")
	fetch("two", 3)
	fetch("two", 2, "--force")
	fetch("one", 3, "--force")
	p.Check(t, durabletest.Budget(1), func(roots []string, words []any) error { return wholeOrNot(roots[0], words) })
}

func wholeOrNot(dir string, words []any) error {
	may, must := map[string][][]byte{}, map[string]bool{}
	for _, w := range words {
		w := w.(fetched)
		if w.told {
			may[w.path] = nil
		}
		may[w.path] = append(may[w.path], w.content)
		must[w.path] = must[w.path] || w.told
	}
	for name, contents := range may {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) && !must[name] {
			continue
		}
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(contents, func(want []byte) bool { return bytes.Equal(got, want) }) {
			return fmt.Errorf("%s has %d bytes that are none of the %d files that it may be", name, len(got),
				len(contents))
		}
	}
	return nil
}

// inFile says what stands in a file of the data directory, or is about to.
type inFile struct {
	name    string
	content string // gone: there is none
	told    bool
}

const gone = "gone"

// pinnedNode is a node that was told to be pinned.
type pinnedNode core.ID

// TestPowerLossIdentity draws, exports, imports and replaces identities, pins nodes and lets a ref's content go.
func TestPowerLossIdentity(t *testing.T) {
	p := recordBelow(t, durabletest.Dir(t), 4)
	h := homeIn(p.root)
	another := filepath.Join(t.TempDir(), "identity")
	text, err := drawOwner(t).Marshal("")
	if err == nil {
		err = os.WriteFile(another, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	is := func(name string) string {
		text, err := os.ReadFile(h.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		p.Promise(inFile{name, string(text), true})
		return string(text)
	}
	p.does("key", "show")
	drawn := is("identity")
	is("node.key")
	if exported := p.does("key", "export"); exported != drawn {
		t.Fatal("what was exported is not what is here")
	}
	is("exported")
	o, err := identityIn(h)
	if err != nil {
		t.Fatal(err)
	}
	p.Promise(inFile{"identity", string(text), false})
	p.does("key", "import", another, "--force")
	is("identity")
	p.Promise(inFile{"identity." + o.ID().Short(), drawn, true})

	pinned, err := h.OpenPins(h)
	for n := 1; n < 4 && err == nil; n++ {
		id := core.ID{byte(n)}
		err = pinned.Pin(id, "n:8001")
		p.Promise(pinnedNode(id))
	}
	if err != nil {
		t.Fatal(err)
	}
	refs, o := h.Refs(), drawOwner(t)
	if _, err := refs.Append(o.Alias("f"), sealedAs(o, "f")); err != nil {
		t.Fatal(err)
	}
	ref := filepath.Join("refs", o.Alias("f"), "1")
	is(ref)
	for n, content := range []string{"", gone, ""} {
		p.Promise(inFile{ref + ".away", content, false})
		if err := refs.SetAway(o.Alias("f"), 1, n != 1); err != nil {
			t.Fatal(err)
		}
		p.Promise(inFile{ref + ".away", content, true})
	}
	p.Check(t, durabletest.Budget(1), func(roots []string, words []any) error {
		return isAsTold(homeIn(roots[0]), words)
	})
}

// TestPowerLossAudited enters what audits came to, while nothing else is entered.
func TestPowerLossAudited(t *testing.T) {
	root := durabletest.Dir(t)
	recorder, signer := durabletest.Record(t, root), key.SignerFromSeed([32]byte{1})
	dir := filepath.Join(root, "ledger")
	log, err := ledger.Open(dir, signer)
	if err != nil {
		t.Fatal(err)
	}
	book := datadir.NewLogbook(log, signer.ID())
	for n := 1; n <= 3; n++ {
		word, err := license.SignAudited(core.Audited{Owner: core.ID{2}, Task: core.TaskID{3}, Failed: n, Since: 1, Time: 1}, signer)
		if err == nil {
			err = book.AppendAudited(word)
		}
		if err != nil {
			t.Fatal(err)
		}
		recorder.Promise(n)
	}
	recorder.Stop()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	recorder.Check(t, durabletest.Budget(1), func(roots []string, told []any) error {
		if len(told) == 0 {
			return nil
		}
		log, err := ledger.Open(filepath.Join(roots[0], "ledger"), signer)
		if err != nil {
			return err
		}
		defer log.Close()
		if entered := told[len(told)-1].(int); log.Size() < int64(entered) {
			return fmt.Errorf("%d of %d entries are left", log.Size(), entered)
		}
		return nil
	})
}

// isAsTold holds files against what was said: each is as somebody was told last, or as what was begun since makes it.
// Whoever is told that an identity was replaced finds the one before beside it.
func isAsTold(h datadir.Dir, words []any) error {
	may := map[string][]string{}
	pinned, err := h.OpenPins(h)
	if err != nil {
		return err
	}
	for _, w := range words {
		switch w := w.(type) {
		case pinnedNode:
			if !pinned.Known(core.ID(w)) {
				return errors.New("a node is pinned no more")
			}
		case inFile:
			if w.told || may[w.name] == nil {
				may[w.name] = nil
			}
			if !w.told && may[w.name] == nil {
				may[w.name] = []string{gone}
			}
			may[w.name] = append(may[w.name], w.content)
		}
	}
	for name, contents := range may {
		got, err := os.ReadFile(h.Path(name))
		if errors.Is(err, os.ErrNotExist) {
			got, err = []byte(gone), nil
		}
		if err != nil {
			return err
		}
		if !slices.Contains(contents, string(got)) {
			return fmt.Errorf("%s is not as it was told: %d bytes", name, len(got))
		}
	}
	if old, err := os.ReadFile(h.Path("identity")); len(may["identity"]) == 2 && err == nil &&
		string(old) == may["identity"][1] {
		if kept, _ := filepath.Glob(h.Path("identity.*")); len(kept) == 0 {
			return errors.New("an identity was replaced and is not kept beside the new one")
		}
	}
	_, err = identityIn(h)
	return err
}
