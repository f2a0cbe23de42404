// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// world is a node's surroundings, made up: it is everything that a Fetcher asks of a node.
type world struct {
	t      *testing.T
	owner  *key.Owner
	sealer *chunk.Sealer
	here   map[core.Hash][]byte
	kept   map[core.Hash][]byte // whatever peers keep
	refs   []version.Found      // of this machine
	peers  map[core.ID]*far

	mu    sync.Mutex
	told  []string
	asked []string // for records, by whom
	runs  []string // that were downloaded, and from whom
	nodes []core.Chunk
	rates []core.Rate // that each download was told of its runs' first holder
}

// far is a peer.
type far struct {
	up      core.Rate
	refs    [][]byte
	records map[core.Hash][]byte
	lists   []core.Hash // runs that it says it keeps
	lacks   map[core.Hash]bool
	wrong   map[core.Hash]bool // chunks of which its bytes are wrong
	away    bool
	moved   bool // it is found where others say
}

func newWorld(t *testing.T) *world {
	owner, err := key.NewOwner(rand.Reader)
	check(t, err)
	sealer, err := chunk.NewSealer(chunk.NewSecrets(owner.DedupSecret), chunk.LevelOff)
	check(t, err)
	return &world{t: t, owner: owner, sealer: sealer, here: map[core.Hash][]byte{}, peers: map[core.ID]*far{}}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) fetcher() *Fetcher {
	return &Fetcher{Owner: w.owner, Here: w, Refs: w, Peers: w, Downloads: w, Teller: w}
}

func id(name string) core.ID { return core.ID{name[0]} }

// add makes a peer known.
func (w *world) add(name string) *far {
	p := &far{records: map[core.Hash][]byte{}, lacks: map[core.Hash]bool{}, wrong: map[core.Hash]bool{}}
	w.peers[id(name)] = p
	return p
}

// sealed seals into w.here.
func (w *world) sealed(kind core.Kind, plain []byte) core.Sealed {
	_, k := w.sealer.Identify(kind, plain)
	stored, err := w.sealer.Seal(nil, kind, k, plain)
	check(w.t, err)
	s := core.Sealed{Hash: chunk.Hash(stored), Size: core.Size(len(stored)), Key: k, Plain: core.Size(len(plain))}
	w.here[s.Hash] = stored
	return s
}

// SealNode makes it manifest.Sealer.
func (w *world) SealNode(plain []byte) (core.Sealed, error) {
	s := w.sealed(core.KindNode, plain)
	w.nodes = append(w.nodes, core.Chunk{Hash: s.Hash, Size: s.Size})
	return s, nil
}

// file is a version of a name that was split here, in chunks of 80 bytes.
type file struct {
	version.Found
	chunks []core.Sealed
	nodes  []core.Chunk
}

func (w *world) split(name string, number, count int) (f file) {
	tree := manifest.NewBuilder(w)
	w.nodes = nil
	for i := range count {
		c := w.sealed(core.KindChunk, fmt.Appendf(nil, "%-80s", fmt.Sprint(name, number, i)))
		f.chunks = append(f.chunks, c)
		check(w.t, tree.Add(c))
	}
	root, err := tree.Finish(manifest.Info{Size: core.Size(80 * count), Method: "fixed", Min: 80, Avg: 80, Max: 80})
	check(w.t, err)
	f.nodes = w.nodes
	f.Body = key.RefBody{Name: name, Root: root, Size: core.Size(80 * count)}
	return w.sealRef(f, number)
}

// sealRef makes the ref of a file anew, as it is now, and this machine's.
func (w *world) sealRef(f file, number int) file {
	envelope, err := w.owner.SealRef(key.Ref{Version: number, Created: 1, Placed: 1}, f.Body)
	check(w.t, err)
	found, err := version.Open(w.owner, envelope)
	check(w.t, err)
	w.refs = slices.DeleteFunc(w.refs, func(r version.Found) bool {
		return r.Ref.Alias == found.Ref.Alias && r.Ref.Version == number
	})
	w.refs = append(w.refs, found)
	f.Found = found
	return f
}

// place has peers keep a file: runs of two chunks, each run at all of them, and one for each tree node.
func (w *world) place(f file, number int, names ...string) file {
	rec := version.Record{Task: core.TaskID{byte(number)}}
	run := func(kind core.FileType, chunks []core.Chunk) {
		r := version.Run{Task: rec.Task, Used: core.FullBitmap(len(chunks))}
		r.Run = core.Run{File: core.File{Name: fmt.Sprint("run", len(rec.Runs)), Type: kind, Order: len(rec.Runs),
			Hash: chunk.RunHash(chunks)}, Chunks: chunks}
		for _, c := range chunks {
			r.Size += c.Size
		}
		rec.Runs = append(rec.Runs, r)
	}
	for pair := range slices.Chunk(f.chunks, 2) {
		var chunks []core.Chunk
		for _, c := range pair {
			chunks = append(chunks, core.Chunk{Hash: c.Hash, Size: c.Size})
		}
		run(core.TypeFile, chunks)
	}
	for node := range slices.Chunk(f.nodes, 1) {
		run(core.TypeDirectory, node)
	}
	for _, name := range names {
		rec.Spans = append(rec.Spans, core.Span{Node: id(name), Length: len(rec.Runs)})
	}
	sealed, stored, err := rec.Seal(w.sealer)
	check(w.t, err)
	w.here[sealed.Hash] = stored
	f.Body.Records, f.Body.Task = []core.Sealed{sealed}, rec.Task
	f = w.sealRef(f, number)
	for _, name := range names {
		p := w.peers[id(name)]
		p.refs = append(p.refs, f.Envelope)
		p.records[sealed.Hash] = stored
		for _, r := range rec.Runs {
			p.lists = append(p.lists, r.Hash)
		}
	}
	return f
}

// forget empties this machine, as a new one is that has the identity alone.
func (w *world) forget() {
	w.kept, w.here, w.refs = w.here, map[core.Hash][]byte{}, nil
}

// Get and Has make it Here.
func (w *world) Get(_ context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	data, ok := w.here[hash]
	if !ok {
		return dst, core.ErrNotFound
	}
	return append(dst, data...), nil
}

func (w *world) Has(_ context.Context, hash core.Hash) (bool, error) {
	_, ok := w.here[hash]
	return ok, nil
}

// Local and At make it Refs.
func (w *world) Local(alias string) (found []version.Found, err error) {
	for _, r := range w.refs {
		if alias == "" || r.Ref.Alias == alias {
			found = append(found, r)
		}
	}
	return found, nil
}

func (w *world) At(_ context.Context, alias string, number int) (found []version.Found, problems []error) {
	for _, peer := range w.Connected() {
		for _, envelope := range w.peers[peer].refs {
			r, err := version.Open(w.owner, envelope)
			check(w.t, err)
			r.At = peer
			if r.Ref.Alias == alias && (number == 0 || r.Ref.Version == number) {
				found = append(found, r)
			}
		}
	}
	return found, problems
}

func (w *world) Await(context.Context) {}

func (w *world) Connected() (ids []core.ID) {
	for peer, p := range w.peers {
		if !p.away {
			ids = append(ids, peer)
		}
	}
	slices.SortFunc(ids, core.ID.Compare)
	return ids
}

// Reach finds those that have moved.
func (w *world) Reach(_ context.Context, ids []core.ID) {
	for _, id := range ids {
		if p := w.peers[id]; p != nil && p.moved {
			p.away, p.moved = false, false
		}
	}
}

func (w *world) Unreached() (problems []string) {
	for peer, p := range w.peers {
		if p.away {
			problems = append(problems, string(peer[:1])+" is away")
		}
	}
	return problems
}

// Ask makes it Peers.
func (w *world) Ask(_ context.Context, to core.ID, question func(uint64) wire.Message) (wire.Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peers[to]
	if p == nil || p.away {
		return nil, errors.New("it is away")
	}
	switch q := question(1).(type) {
	case wire.StateQuery:
		r := wire.StateReport{Up: p.up}
		if q.Files {
			page := p.lists[q.After:min(q.After+2, len(p.lists))]
			for _, hash := range page {
				r.Files = append(r.Files, core.File{Hash: hash})
			}
			r.More = q.After+2 < len(p.lists)
		}
		return r, nil
	case wire.RefGet:
		w.asked = append(w.asked, string(to[:1]))
		data, ok := p.records[q.Record]
		if !ok {
			return wire.RefReport{Code: core.ReasonUnknown}, nil
		}
		return wire.RefReport{Data: data[q.Offset:]}, nil
	default:
		return nil, fmt.Errorf("nobody answers %s", q.Type())
	}
}

// Phase and Warn make it Teller.
func (w *world) Phase(name string) { w.told = append(w.told, name) }
func (w *world) Warn(text string)  { w.told = append(w.told, "warning: "+text) }

// Download brings each run from the first holder that has it whole, as far as an order without judgement wants.
func (w *world) Download(_ context.Context, o Order) (left, wrong []int, why error) {
	if len(o.Wanted) > 0 && len(o.Wanted[0].Holders) > 0 {
		w.rates = append(w.rates, o.Holders[o.Wanted[0].Holders[0]].Rate)
	}
	for i, run := range o.Wanted {
		state := "lost"
		for _, holder := range run.Holders {
			state = w.bring(o, i, holder)
			s := o.Holders[holder]
			switch state {
			case "came":
				s.Got += run.Bytes()
				s.Rate = 1 // it agreed to that
			case "away":
				s.Lost = "it is away"
			}
			o.Holders[holder] = s
			w.runs = append(w.runs, fmt.Sprintf("%s %s from %s", o.What, run.Name, holder[:1]))
			if state == "came" || state == "wrong" && o.Judges {
				break
			}
		}
		switch {
		case state == "wrong" && o.Judges:
			wrong = append(wrong, i)
		case state != "came":
			left = append(left, i)
			why = core.Fail(core.CodeRedundant, "%s %s is nowhere", o.What, run.Name)
		}
	}
	return left, wrong, why
}

// bring has one holder bring one run.
func (w *world) bring(o Order, i int, holder core.ID) string {
	p, run := w.peers[holder], o.Wanted[i]
	if p.away {
		return "away"
	}
	for at, c := range run.Chunks {
		switch {
		case !run.Needed.Has(at):
			continue
		case p.wrong[c.Hash]:
			return "wrong"
		case p.lacks[c.Hash] || w.kept[c.Hash] == nil:
			return "lacks"
		}
		if err := o.Keep(i, at, w.kept[c.Hash]); err != nil {
			check(w.t, err)
		}
	}
	return "came"
}
