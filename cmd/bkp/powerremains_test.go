// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/staging"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// remains is what a node's data directory holds after a power loss.
type remains struct {
	*member
	home     datadir.Dir
	conf     commands.Config
	segments map[core.TaskID]map[int]core.Segment
	licences map[core.LicenseID]core.License
	receipts []core.Receipt
}

// recover opens everything as the node would.
func (x *member) recover(root string) (k *remains, close func() error, err error) {
	k = &remains{member: x, home: homeIn(root), segments: map[core.TaskID]map[int]core.Segment{},
		licences: map[core.LicenseID]core.License{}}
	conf, opened, err := x.stores(root)
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
		err = k.readLedger(conf.Ledger.(*datadir.Logbook))
	}
	if err != nil {
		return nil, nil, errors.Join(err, opened.Close())
	}
	return k, opened.Close, nil
}

func (k *remains) readLedger(l *datadir.Logbook) error {
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

// keepsItsWord holds what is there against what the node said. Of a task that somebody asked it to release nothing
// must be there, and nothing may once it said that it did.
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
		return x.License == r.License && x.Target == r.Target && x.Previous == r.Previous &&
			slices.Equal(x.Runs, r.Runs)
	})
}

// coveredBefore reports whether the ledger has a receipt for every run of this one: a target may say once more what it
// said.
func (k *remains) coveredBefore(r core.Receipt) bool {
	known := map[int]bool{}
	for _, x := range k.receipts {
		for _, span := range x.Runs {
			for run := span.Start; run < span.Start+span.Length; run++ {
				known[run] = known[run] || x.Task == r.Task && x.Segment == r.Segment && x.Target == r.Target
			}
		}
	}
	return !slices.ContainsFunc(r.Runs, func(span core.Range) bool {
		for run := span.Start; run < span.Start+span.Length; run++ {
			if !known[run] {
				return true
			}
		}
		return false
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

// agrees holds the node's records against each other: every holding has an accepted licence, and is in the packs; what
// this node receipted, and keeps a segment of, it holds.
func (k *remains) agrees() error {
	for task, segments := range k.segments {
		for number := range segments {
			holdings, err := k.conf.Holdings.Kept(task, number)
			if err != nil {
				return err
			}
			if len(holdings) > 0 && !k.licensed(task, number) {
				return fmt.Errorf("%s holds runs of segment %d of task %s without a licence in its ledger", k.name,
					number, task)
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
	ctx := context.Background()
	// what a power loss leaves is no damage
	found, err := keep.CheckRecords(ctx, k.conf.Holdings, k.conf.Keeping, k.conf.Ledger)
	return errors.Join(err, found.Err())
}

func (k *remains) has(s storage.Store, hash core.Hash) error {
	_, err := s.Get(context.Background(), hash, nil)
	return err
}

// survives holds the whole mesh against what was said: each node's own word, and that of the source to its owner:
// every version can be read from what it has staged and, where it let go of that, from as many targets as were asked
// for, with a note of what went.
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
	if err := source.knows(all); err != nil {
		return err
	}
	if !m.again {
		if err := source.toldOwner(m.owner, words); err != nil {
			return err
		}
	}
	if other := all[otherName]; other != nil { // which has holders let go of what the source counts
		err = errors.Join(source.leans(m.owner), other.leans(m.owner), other.knows(all))
	} else {
		err = source.counts(words, all)
	}
	if err != nil {
		return err
	}
	versions, err := source.home.Refs().Open(m.owner)
	if err != nil {
		return err
	}
	there := map[numbered]datadir.Version{}
	for _, v := range versions {
		there[numbered{v.Body.Name, v.Ref.Version}] = v
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
	checkpoints, err := checkpointsIn(source.home)
	for _, r := range checkpoints {
		v, openErr := datadir.OpenRef(m.owner, r)
		if err = errors.Join(err, openErr); err == nil {
			err = m.readable(v, nil, all, replicas)
		}
	}
	if err != nil {
		return fmt.Errorf("a checkpoint: %w", err)
	}
	return nil
}

// knows holds the source's records against what others keep of its tasks: whoever was told of one is in its record.
func (k *remains) knows(all map[string]*remains) error {
	records, err := k.home.Placements().All()
	if err != nil {
		return err
	}
	bound := map[core.TaskID][]core.ID{}
	for _, r := range records {
		bound[r.Task] = r.Bound()
	}
	for name, x := range all {
		for task, segments := range x.segments {
			for _, s := range segments {
				if s.Source == k.signer.ID() && !slices.Contains(bound[task], x.signer.ID()) {
					return fmt.Errorf("%s keeps task %s, and is in no record of it", name, task)
				}
			}
		}
	}
	return nil
}

// counts holds a machine's records against who said last that it let go of a task: that is no copy.
func (k *remains) counts(words []any, all map[string]*remains) error {
	records, err := k.home.Placements().All()
	if err != nil {
		return err
	}
	gone := map[string]map[core.TaskID]bool{}
	for _, w := range words {
		if s, ok := w.(said); ok && (s.kind == "RELEASE_DONE" || s.kind == "TASK_AGREE") {
			if gone[s.by] == nil {
				gone[s.by] = map[core.TaskID]bool{}
			}
			gone[s.by][s.task] = s.kind == "RELEASE_DONE"
		}
	}
	removed, err := k.home.Refs().Tombstones()
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.IsOver() || slices.ContainsFunc(removed, func(s staging.StoredRef) bool { // the next start ends those
			return s.Alias == r.Alias && s.Version == r.Version
		}) {
			continue
		}
		for _, h := range r.Holders() {
			for name, x := range all {
				if x.signer.ID() == h.Node && gone[name][r.Task] {
					return fmt.Errorf("%s let go of task %s, and counts", name, r.Task)
				}
			}
		}
	}
	return nil
}

// leans holds what a machine's refs name against what it has: records and tree nodes.
func (k *remains) leans(o *key.Owner) error {
	refs, err := k.home.Refs().Open(o)
	if err != nil {
		return err
	}
	local := datadir.NewChunks(context.Background(), k.conf.Staging.(*disk.Store))
	for _, v := range refs {
		for _, r := range v.Body.Records {
			if err := k.has(k.conf.Staging, r.Hash); err != nil {
				return fmt.Errorf("a segment record: %w", err)
			}
		}
		if err := manifest.Walk(v.Body.Root, local, func(manifest.Entry) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// toldOwner holds the source's ledger against what place reported, and against its refs and checkpoints: the receipts
// of a task are in the one before anything says that the task is placed.
func (k *remains) toldOwner(o *key.Owner, words []any) error {
	told := map[core.TaskID]bool{}
	checkpoints := func() ([]staging.StoredRef, error) { return checkpointsIn(k.home) }
	for _, list := range []func() ([]staging.StoredRef, error){k.home.Refs().List, checkpoints} {
		refs, err := list()
		if err != nil {
			return err
		}
		for _, r := range refs {
			v, err := datadir.OpenRef(o, r)
			if err != nil {
				return err
			}
			told[v.Body.Task] = len(v.Body.Records) > 0
			for _, r := range v.Body.Records {
				if err := k.has(k.conf.Staging, r.Hash); err != nil {
					return fmt.Errorf("a segment record of %s@%d: %w", v.Body.Name, v.Ref.Version, err)
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
		if told[r.Task] && !k.coveredBefore(r) {
			return fmt.Errorf("task %s is placed, and a receipt of it is not in the source's ledger", r.Task)
		}
	}
	return nil
}

// checkpointsIn is every checkpoint, however old: a mesh lives in the year 2000.
func checkpointsIn(h datadir.Dir) (all []staging.StoredRef, err error) {
	paths, err := filepath.Glob(h.Path("refs", "*", "checkpoint"))
	for _, path := range paths {
		var c struct{ Envelope []byte }
		text, readErr := os.ReadFile(path)
		if err = errors.Join(err, readErr, json.Unmarshal(text, &c)); err != nil {
			return nil, err
		}
		all = append(all, staging.StoredRef{Alias: filepath.Base(filepath.Dir(path)), Version: 1, Envelope: c.Envelope})
	}
	return all, err
}

// readable reads a version from what the source has staged, else from as many targets as there are to be copies.
func (m *mesh) readable(v datadir.Version, want []byte, all map[string]*remains, replicas int) error {
	source := all[sourceName]
	sealer, err := chunk.NewSealer(chunk.NewSecrets(m.owner.DedupSecret), chunk.LevelDefault)
	if err != nil {
		return err
	}
	local, opener := datadir.NewChunks(context.Background(), source.conf.Staging.(*disk.Store)), chunk.NewOpener()
	var got []byte
	err = manifest.Walk(v.Body.Root, local, func(e manifest.Entry) error {
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
		plain, openErr := opener.OpenSealed(nil, core.KindChunk, e.Chunk, stored)
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
