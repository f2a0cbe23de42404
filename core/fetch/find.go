// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// Version is a version that was found. Get and Bring are what who puts its file together needs; Bring is for one
// goroutine at a time.
type Version struct {
	version.Found
	fetcher *Fetcher
	reader  *version.Reader
	at      []core.ID       // peers that have the ref
	located []version.Found // the refs at peers beside which there is a location
	offered map[core.ID]int // the version that a peer offered
	index   index
	own     int // runs of the index that are of the version's own records
	judges  bool
	known   map[core.ID]spread.Standing // holders, by what downloads learned of them

	asking context.Context    // ends with the questions below
	stop   context.CancelFunc // ends it
	asked  sync.WaitGroup
	mu     sync.Mutex
	rates  map[core.ID]core.Rate // what holders say that they can send
}

// Open finds the newest version of a name, or the one with the number, and brings its records and tree nodes. Whoever
// gets a Version closes it, also beside an error; it is nil where none was found.
func (f *Fetcher) Open(ctx context.Context, name string, number int) (*Version, error) {
	f.Teller.Phase("find")
	v, err := f.find(ctx, name, number)
	if err != nil {
		return nil, err
	}
	if err := v.readRecords(ctx); err != nil {
		return v, err
	}
	v.reachHolders(ctx, false)
	if older := v.withheld(); older != "" {
		f.Teller.Warn(older)
	}
	return v, v.bringNodes(ctx)
}

// Close ends what is still asked of peers.
func (v *Version) Close() {
	v.stop()
	v.asked.Wait()
}

// Holders is what is known of those that were asked for something.
func (v *Version) Holders() map[core.ID]spread.Standing { return v.known }

// find chooses the version: the highest that this machine or any reachable peer knows, or the one that was asked for.
func (f *Fetcher) find(ctx context.Context, name string, number int) (*Version, error) {
	alias := f.Owner.Alias(name)
	refs, err := f.Refs.Local(alias)
	if err != nil {
		return nil, err
	}
	f.Peers.Await(ctx)
	v := &Version{fetcher: f, reader: version.NewReader(ctx, f.Here), offered: map[core.ID]int{},
		known: map[core.ID]spread.Standing{}, rates: map[core.ID]core.Rate{}}
	v.hearRates(ctx)
	remote, problems := f.Refs.At(ctx, alias, number)
	refs = slices.DeleteFunc(append(refs, remote...), func(r version.Found) bool {
		return number != 0 && r.Ref.Version != number
	})
	if len(refs) == 0 {
		v.Close()
		return nil, unknown(number, problems, f.Peers.Unreached())
	}
	v.Found = version.Newest(refs)
	if fork := version.Forked(v.Found, refs); fork != "" {
		f.Teller.Warn(fork)
	}
	for _, r := range refs {
		if r.At.IsZero() {
			continue
		}
		v.offered[r.At] = r.Ref.Version
		if r.Ref.Version == v.Ref.Version {
			v.at = append(v.at, r.At)
		}
		if r.SameContent(v.Found) && r.Location.Size > 0 {
			v.located = append(v.located, r)
		}
	}
	return v, nil
}

// unknown says that nobody who could be asked knows a version, or that it is not for this identity, and who could not be
// asked: where there is somebody, whether it exists is not known.
func unknown(number int, problems []error, away []string) error {
	which, why := "version", ""
	if number != 0 {
		which = fmt.Sprintf("version %d", number)
	}
	refused := len(problems) > 0 && len(away) == 0
	said := slices.Clone(away)
	for _, p := range problems {
		said = append(said, p.Error())
		refused = refused && core.CodeOf(p) == core.CodeRefused
	}
	if len(said) > 0 {
		why = " (" + strings.Join(said, "; ") + ")"
	}
	switch {
	case refused:
		return core.WithHint(core.Fail(core.CodeRefused, "no %s may be read by this identity%s", which, why),
			"bkp ls lists what it reads; the owner's own identity reads all")
	case len(said) > 0:
		return core.WithHint(core.Fail(core.CodeRedundant, "no %s is known here or at a reachable peer%s", which, why),
			"start the peers that are away: bkp peers shows them; bkp ls lists what is known")
	}
	return core.WithHint(core.Fail(core.CodeNoName, "no %s is known here or at any peer", which),
		"bkp ls lists what there is; is the right identity in place, and are the peers up (bkp peers)?")
}

// hearRates asks all peers what they can send. Nothing waits for their answers: who has said nothing when a run is
// wanted is asked for one, to see what it agrees to.
func (v *Version) hearRates(ctx context.Context) {
	f := v.fetcher
	ctx, v.stop = context.WithCancel(ctx)
	v.asking = ctx
	for _, id := range f.Peers.Connected() {
		v.asked.Go(func() {
			r, err := wire.Ask[wire.StateReport](ctx, f.Peers, id,
				func(id uint64) wire.Message { return wire.StateQuery{Query: id} })
			if err != nil {
				return
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			v.rates[id], _ = core.Credible(r.Up, nil, r.LinkTo(f.Self).Measured)
		})
	}
}

// told is the rates that were heard so far.
func (v *Version) told() map[core.ID]core.Rate {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.rates)
}

// readRecords brings the segment records and indexes their runs. A version that was not placed, or in part, may consist
// of chunks that peers keep for others: those of this machine are asked too.
func (v *Version) readRecords(ctx context.Context) error {
	where := v.location(ctx)
	for i, sealed := range v.Body.Records {
		stored, err := v.record(ctx, sealed)
		if err != nil {
			return fmt.Errorf("segment record %d: %w", i, err)
		}
		r, err := v.reader.OpenRecord(sealed, stored)
		if err != nil {
			return fmt.Errorf("segment record %d: %w", i, err)
		}
		v.reader.Add(sealed.Hash, stored)
		if i < len(where.Segments) { // its spans count beside those of when it was sealed
			r = r.Located(where.Segments[i])
		}
		v.index.learn(r)
	}
	v.own = len(v.index.runs)
	if v.own > 0 && !slices.ContainsFunc(v.index.holders, func(h []core.ID) bool { return len(h) == 0 }) {
		return nil
	}
	refs, err := v.fetcher.Refs.Local("")
	if err != nil {
		return err
	}
	for _, ref := range refs {
		for _, sealed := range ref.Body.Records {
			if r, err := v.reader.Record(sealed); err == nil { // what is missed shows where a chunk is found nowhere
				v.index.learn(r)
			}
		}
	}
	return nil
}

// location is what a coordinator says of who keeps the version: of all that peers have, the one that counts most. What
// it says wrongly costs time and no more.
func (v *Version) location(ctx context.Context) (best key.Location) {
	tried := map[core.Hash]bool{}
	for _, f := range v.located {
		if tried[f.Location.Hash] {
			continue
		}
		l, err := version.LocationAt(ctx, v.fetcher.Peers, f)
		if err != nil {
			v.fetcher.Teller.Warn(fmt.Sprintf("what %s says of who keeps it cannot be read: %v", f.At.Short(), err))
			continue
		}
		if tried[f.Location.Hash] = true; len(best.Segments) == 0 || l.After(best) {
			best = l
		}
	}
	return best
}

// reachHolders looks for holders that are not there where their peers say that they are. Unless all are needed it
// waits only where no holder of some run is there, and it cannot be rebuilt from others.
func (v *Version) reachHolders(ctx context.Context, all bool) {
	there := v.fetcher.Peers.Connected()
	var away []core.ID
	wait := all
	for run, holders := range v.index.holders {
		missing := slices.DeleteFunc(slices.Clone(holders), func(id core.ID) bool { return slices.Contains(there, id) })
		wait = wait || len(missing) == len(holders) && !v.index.bears(run, there)
		for _, id := range missing {
			if !slices.Contains(away, id) {
				away = append(away, id)
			}
		}
	}
	switch {
	case len(away) == 0:
	case wait:
		v.fetcher.Peers.Reach(ctx, away)
	default:
		v.asked.Go(func() { v.fetcher.Peers.Reach(v.asking, away) })
	}
}

// record is the stored bytes of a record, from here or from the fastest peer that has them.
func (v *Version) record(ctx context.Context, sealed core.Sealed) ([]byte, error) {
	stored, err := v.reader.Stored(sealed.Hash)
	if err == nil {
		return stored, nil
	}
	err = core.Fail(core.CodeRedundant, "no reachable peer has it")
	rates := v.told()
	slices.SortStableFunc(v.at, func(a, b core.ID) int { return cmp.Compare(rates[b], rates[a]) })
	for _, id := range v.at {
		if stored, err = version.RecordAt(ctx, v.fetcher.Peers, id, v.Ref, sealed); err == nil {
			return stored, nil
		}
	}
	return nil, err
}

// withheld names holders of the version that offered an older one as the newest.
func (v *Version) withheld() string {
	var who []string
	for _, holders := range v.index.holders {
		for _, id := range holders {
			if old := v.offered[id]; old > 0 && old < v.Ref.Version && !slices.Contains(who, id.Short()) {
				who = append(who, id.Short())
			}
		}
	}
	if len(who) == 0 {
		return ""
	}
	return fmt.Sprintf("by its record version %d is also at %s: an older one is offered there as the newest",
		v.Ref.Version, strings.Join(who, ", "))
}
