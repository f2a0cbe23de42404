// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/measure"
)

// Memory keeps what a node has measured over restarts, in a small file.
type Memory interface {
	// Read returns what was written last; core.ErrNotFound where nothing was.
	Read() ([]byte, error)
	Write([]byte) error
}

// saveEvery is how often what was measured is written down.
const saveEvery = time.Minute

// recall reads what was measured before this node started. What cannot be read is measured anew.
func (n *Node) recall() *measure.Links {
	if n.Memory == nil {
		return measure.New()
	}
	text, err := n.Memory.Read()
	if errors.Is(err, core.ErrNotFound) {
		return measure.New()
	}
	var known *measure.Links
	if err == nil {
		known, err = measure.Recall(text)
	}
	if err != nil {
		n.Log.Warn("what was measured before is not known any more", "error", err)
		return measure.New()
	}
	return known
}

// remember writes down what was measured, now and then, and in the end.
func (n *Node) remember() {
	for more := true; more; {
		var m *measure.Memory
		changed := do(func(n *state) { m = n.measures.Changed() })
		if more = n.Pause(context.Background(), saveEvery) && n.ask(changed); !more {
			<-n.ended
			m = n.unwritten
		}
		if m == nil {
			continue
		}
		text, err := m.Text()
		if err == nil {
			err = n.Memory.Write(text)
		}
		if err != nil {
			n.Log.Warn("write down what was measured", "error", err)
		}
	}
}

// measured is what was measured of the link to a peer, at most its capacity; 0 while too little was.
func (n *state) measured(p *peer) core.Rate { return min(n.measures.To(p.id).Low(), p.capacity) }
