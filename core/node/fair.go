package node

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// due is the lease that the lane should have now: its share of a trunk where it crosses one, which nobody else may use,
// else its part of what this node's uplink can do for all that use it or could.
func (l *lane) due(stage plan.Stage) core.Rate {
	up := l.n.book.Nominal(accountUp)
	if share, _ := l.trunkShare(); share > 0 {
		if l.wanted() {
			return min(share, up/2)
		}
		return share
	}
	if up == account.Unlimited {
		return up
	}
	served, waiting := l.swarm.contenders(stage, l)
	return plan.Fair(stage, l.swarm.uplink(), l.receiver(nil), receiversOf(served, nil), receiversOf(waiting, nil))
}

// uplink is the part of this node's uplink that is the swarm's: an even one, or what the others leave.
func (s *swarm) uplink() core.Rate {
	up := s.n.book.Nominal(accountUp)
	rivals, waiting := 0, false
	for _, other := range s.n.swarms {
		if other != s && other.hungry() {
			rivals++
			waiting = waiting || other.waits(nil)
		}
	}
	if rivals == 0 {
		return up
	}
	part := up / core.Rate(1+rivals)
	if waiting {
		return part
	}
	left := s.n.book.Free(accountUp)
	for _, l := range s.lanes {
		if l.holds() {
			left += l.flow.Rate
		}
	}
	return max(part, left)
}

const (
	// worthAsking is how many times its lease a lane has to be able to get before it asks for that alone.
	worthAsking = 1.25
	// raiseEvery is how often it may: the target may have no more to give.
	raiseEvery = time.Second
)

// raise asks for more of the uplink for what is on its way, where others have left it and nobody waits for it.
func (l *lane) raise() {
	n, f := l.n, l.flow
	if f == nil || f.State != task.Leased || l.full || l.taste || n.now() < l.raised+raiseEvery+l.roundTrip() ||
		l.trunk() != nil {
		return
	}
	least, rate := core.Rate(worthAsking*float64(f.Rate)), f.Rate+n.book.Free(f.accounts...)
	if rate < least {
		return // before much is looked at
	}
	l.raised = n.now()
	if l.waitedFor() {
		return
	}
	if rate = min(rate, l.due(l.swarm.stages()[0]), n.book.Nominal(f.accounts...)); rate >= least {
		l.raising = true
		n.step(f, task.Event{Kind: task.Ask, Rate: rate})
	}
}

// lower gives back what the lane's lease is above a rate, and lets others have it.
func (l *lane) lower(r core.Rate) {
	n, f := l.n, l.flow
	n.must(n.book.Adjust(f.booked, r))
	f.row.Rate = r
	n.step(f, task.Event{Kind: task.Scaled, Rate: r})
	n.wakeWaiting()
}

// wanted reports whether others use the uplink too, or could, and it has a limit.
func (l *lane) wanted() bool {
	if l.n.book.Nominal(accountUp) == account.Unlimited {
		return false
	}
	for _, s := range l.n.swarms {
		for _, other := range s.lanes {
			if other != l && other.holds() {
				return true
			}
		}
	}
	return l.waitedFor()
}

// waitedFor reports whether other lanes could use the uplink now.
func (l *lane) waitedFor() bool {
	for _, s := range l.n.swarms {
		if s.waits(l) {
			return true
		}
	}
	return false
}

// waits reports whether a lane other than this one could apply for a lease now.
func (s *swarm) waits(but *lane) bool {
	return slices.ContainsFunc(s.stages(), func(stage plan.Stage) bool {
		return slices.ContainsFunc(s.members(), func(id core.ID) bool {
			l := s.lane(id)
			if l == but || !l.waits() {
				return false
			}
			p, _ := s.offers(l, stage)
			return p != nil
		})
	})
}

// hungry reports whether the swarm uses the uplink or could.
func (s *swarm) hungry() bool {
	for _, l := range s.lanes {
		if l.holds() {
			return true
		}
	}
	return s.waits(nil)
}

// holds reports whether a lease stands on the lane, or is asked for.
func (l *lane) holds() bool { return l.flow != nil && l.flow.Holds() }
