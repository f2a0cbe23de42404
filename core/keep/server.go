// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"cmp"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep/serve"
	"github.com/bkp-tool/bkp/core/wire"
)

// Find looks for the runs that a peer asks for, as far as they belong to its part, beside the loop; then is called in an
// event.
func (s *State) Find(m wire.GainApply, part Part, then func(*State, serve.Asked)) {
	t := s.target
	s.peers.Act(func() {
		var a serve.Asked
		var why error
		for _, r := range m.Runs {
			found, err := serve.Run{}, error(core.ErrNotFound)
			if part.run(r.Hash) {
				found, err = t.find(m.Owner, r)
			}
			if err != nil {
				why = cmp.Or(why, fmt.Errorf("run %s: %w", r.Hash, err))
				a.Missing = append(a.Missing, r.Hash)
				continue
			}
			a.Found = append(a.Found, found)
		}
		if why != nil { // one line, however many there were
			t.Log.Warn("asked for runs that are not here", "runs", len(a.Missing), "error", why)
		}
		t.loop.Post(func(s *State) { then(s, a) })
	})
}

// find finds a kept run of the owner and the chunks of it that are asked for.
func (t *Target) find(owner core.ID, r wire.GainRun) (serve.Run, error) {
	known, err := t.Holdings.RunOf(owner, r.Hash)
	if err != nil {
		return serve.Run{}, err
	}
	found := serve.Run{Hash: r.Hash}
	for i, c := range known.Chunks {
		if len(r.Chunks) > 0 && !r.Chunks.Has(i) {
			continue
		}
		there, err := t.Keeping.Has(t.ctx, c.Hash)
		if err != nil {
			return serve.Run{}, err
		}
		if !there {
			return serve.Run{}, fmt.Errorf("chunk %s is gone", c.Hash)
		}
		found.Chunks = append(found.Chunks, c)
		found.Size += c.Size
	}
	if len(found.Chunks) == 0 {
		return serve.Run{}, fmt.Errorf("no chunk of it is asked for")
	}
	return found, nil
}

// Chunks looks for the chunks of a run that is kept here for any task, beside the loop; then gets nil in an event where
// they are not known.
func (s *State) Chunks(run core.Hash, then func([]core.Chunk)) {
	t := s.target
	t.loop.Act(func() {
		known, err := t.Holdings.Run(run)
		if err != nil {
			t.Log.Warn("look up a run that is to be passed on", "run", run, "error", err)
		}
		t.loop.Post(func(*State) { then(known.Chunks) })
	})
}
