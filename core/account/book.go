// SPDX-License-Identifier: Apache-2.0

// Package account keeps the bandwidth that a node has given away: accounts, and the leases on them.
//
// A node has one Book. It names its accounts as core.Account tells: "up" and "down" for its own sides, "out:ID" and
// "in:ID" for the links to and from a peer. A lease takes the same rate from each of its accounts, all of them or none.
//
// Four things hold after every call, and Check asserts them:
//
//   - the leases on an account add up to what the account says is leased;
//   - that sum is never negative and never above the account's capacity. When a capacity shrinks below it, the leases
//     on that account are scaled down in the same call, and none is added until some are given back;
//   - a lease stands in the book from Reserve until it is given back, by GiveBack or by Expire, whichever comes first;
//     the other then finds nothing. So every lease is given back exactly once;
//   - an account that no lease uses has nothing leased.
//
// Rates are wire bytes per second. Times are monotonic durations since any fixed moment of the caller's choice. A Book
// is not safe for concurrent use: the node's loop owns it.
package account

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Unlimited is what Free answers where no account sets a limit.
const Unlimited core.Rate = math.MaxInt64

// ErrBusy is why Reserve and Adjust refuse a rate that an account could carry, had it not leased so much already.
var ErrBusy = errors.New("not enough bandwidth is free")

// ErrUnknown is what Adjust and Renew return for a lease that is not in the book: given back, expired, or never made.
var ErrUnknown = errors.New("no such lease")

// Lease is a flow's reservation on its accounts.
type Lease struct {
	ID       uint64 // unique among the leases that stand
	Flow     uint64
	Accounts []string      // each takes the whole rate; no name twice
	Rate     core.Rate     // above 0 when reserved; scaling to a tiny capacity may leave 0
	Expires  time.Duration // the lease ends at this moment unless renewed
}

// side is one account: its capacity and what is leased of it.
type side struct {
	capacity core.Rate // 0 is unlimited
	leased   core.Rate
	leases   map[uint64]*Lease
	declared bool // SetCapacity named it
}

// limit is the capacity as a number that sums can be compared with.
func (s *side) limit() core.Rate {
	if s.capacity == 0 {
		return Unlimited
	}
	return s.capacity
}

func (s *side) free() core.Rate { return s.limit() - s.leased }

// Book holds the accounts of one node.
type Book struct {
	sides  map[string]*side
	leases map[uint64]*Lease
}

// New returns an empty book. An account that SetCapacity never named is unlimited.
func New() *Book {
	return &Book{sides: map[string]*side{}, leases: map[uint64]*Lease{}}
}

// SetCapacity gives an account its capacity, 0 for unlimited; a negative one counts as 1 byte per second, for a mistake
// must not open a link. Leases that no longer fit are scaled down in proportion, and returned as they now are, by ID.
// Their other accounts get back what they lost. They do not grow again by themselves: the flow's owner may Adjust them.
func (b *Book) SetCapacity(account string, r core.Rate) (scaled []Lease) {
	s := b.side(account)
	s.capacity, s.declared = r, true
	if r < 0 {
		s.capacity = 1
	}
	if s.leased <= s.limit() {
		return nil
	}
	ratio := float64(s.capacity) / float64(s.leased)
	for _, id := range slices.Sorted(maps.Keys(s.leases)) {
		l := s.leases[id]
		b.change(l, core.Rate(math.Floor(float64(l.Rate)*ratio)))
	}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(s.leases))) {
		// Rates beyond 2^53 lose their last bits in the product above; what that leaves over comes off here.
		if over := s.leased - s.limit(); over > 0 {
			l := s.leases[id]
			b.change(l, max(0, l.Rate-over))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.leases)) {
		scaled = append(scaled, s.leases[id].copy())
	}
	return scaled
}

// Forget drops an account that no lease uses, such as the link to a peer that was removed. It reports whether it could.
func (b *Book) Forget(account string) bool {
	if s := b.sides[account]; s != nil && len(s.leases) > 0 {
		return false
	}
	delete(b.sides, account)
	return true
}

// Free is the rate that a lease on all of these accounts could have now: Unlimited where none of them is limited.
func (b *Book) Free(accounts ...string) core.Rate {
	free := Unlimited
	for _, name := range accounts {
		if s := b.sides[name]; s != nil {
			free = min(free, s.free())
		}
	}
	return free
}

// Nominal is the rate that a lease on all of these accounts could have, were nothing leased: Unlimited without a limit.
func (b *Book) Nominal(accounts ...string) core.Rate {
	nominal := Unlimited
	for _, name := range accounts {
		if s := b.sides[name]; s != nil {
			nominal = min(nominal, s.limit())
		}
	}
	return nominal
}

// Reserve takes l.Rate from every account of l, or changes nothing. It returns ErrBusy (wrapped, naming the account)
// where too little is free, and another error for a lease that could never stand: a rate of 0 or less or above an
// account's capacity, no account or one named twice, an ID in use, an expiry that has passed.
func (b *Book) Reserve(now time.Duration, l Lease) error {
	if err := b.admissible(now, l); err != nil {
		return fmt.Errorf("reserve lease %d: %w", l.ID, err)
	}
	if err := b.room(l.Accounts, l.Rate); err != nil {
		return fmt.Errorf("reserve lease %d: %w", l.ID, err)
	}
	kept := l.copy()
	b.leases[l.ID] = &kept
	for _, name := range kept.Accounts {
		s := b.side(name)
		s.leased += kept.Rate
		s.leases[kept.ID] = &kept
	}
	return nil
}

// Adjust changes the rate of a lease on all its accounts, or changes nothing: ErrUnknown, ErrBusy, or an error for a
// rate of 0 or less or above a capacity.
func (b *Book) Adjust(id uint64, rate core.Rate) error {
	l, ok := b.leases[id]
	switch {
	case !ok:
		return fmt.Errorf("adjust lease %d: %w", id, ErrUnknown)
	case rate <= 0:
		return fmt.Errorf("adjust lease %d: its rate must be above 0, not %d", id, rate)
	}
	if rate > l.Rate {
		for _, name := range l.Accounts {
			if err := b.side(name).fits(name, rate, rate-l.Rate); err != nil {
				return fmt.Errorf("adjust lease %d: %w", id, err)
			}
		}
	}
	b.change(l, rate)
	return nil
}

// Renew moves the moment at which a lease expires. It returns ErrUnknown for a lease that no longer stands.
func (b *Book) Renew(id uint64, expires time.Duration) error {
	l, ok := b.leases[id]
	if !ok {
		return fmt.Errorf("renew lease %d: %w", id, ErrUnknown)
	}
	l.Expires = expires
	return nil
}

// GiveBack ends a lease. It reports whether the lease stood: false the second time, and after it expired.
func (b *Book) GiveBack(id uint64) bool {
	l, ok := b.leases[id]
	if !ok {
		return false
	}
	for _, name := range l.Accounts {
		s := b.sides[name]
		s.leased -= l.Rate
		delete(s.leases, id)
		if !s.declared && len(s.leases) == 0 {
			delete(b.sides, name)
		}
	}
	delete(b.leases, id)
	return true
}

// Expire gives back every lease whose time has come and returns them, the earliest first.
func (b *Book) Expire(now time.Duration) (expired []Lease) {
	for _, l := range b.leases {
		if l.Expires <= now {
			expired = append(expired, l.copy())
		}
	}
	slices.SortFunc(expired, func(x, y Lease) int {
		return cmp.Or(cmp.Compare(x.Expires, y.Expires), cmp.Compare(x.ID, y.ID))
	})
	for _, l := range expired {
		b.GiveBack(l.ID)
	}
	return expired
}

// NextExpiry is when the next lease expires, and false where there is none.
func (b *Book) NextExpiry() (at time.Duration, ok bool) {
	at = math.MaxInt64
	for _, l := range b.leases {
		at, ok = min(at, l.Expires), true
	}
	return at, ok
}

// Lease returns one lease as it stands.
func (b *Book) Lease(id uint64) (Lease, bool) {
	l, ok := b.leases[id]
	if !ok {
		return Lease{}, false
	}
	return l.copy(), true
}

// Accounts lists every account that has a capacity or a lease, by name.
func (b *Book) Accounts() (out []core.Account) {
	for _, name := range slices.Sorted(maps.Keys(b.sides)) {
		s := b.sides[name]
		out = append(out, core.Account{Name: name, Capacity: s.capacity, Leased: s.leased})
	}
	return out
}

// Leases lists every lease that stands, by ID.
func (b *Book) Leases() (out []Lease) {
	for _, id := range slices.Sorted(maps.Keys(b.leases)) {
		out = append(out, b.leases[id].copy())
	}
	return out
}

// Check returns an error that names the first account or lease which breaks a promise of the package comment.
func (b *Book) Check() error {
	for _, name := range slices.Sorted(maps.Keys(b.sides)) {
		s, sum := b.sides[name], core.Rate(0)
		for id, l := range s.leases {
			if b.leases[id] != l || !slices.Contains(l.Accounts, name) {
				return fmt.Errorf("account %s: lease %d was given back but still counts", name, id)
			}
			if l.Rate < 0 {
				return fmt.Errorf("account %s: lease %d has the negative rate %d", name, id, l.Rate)
			}
			sum += l.Rate
		}
		switch {
		case sum != s.leased:
			return fmt.Errorf("account %s: its leases add up to %d, it says %d", name, sum, s.leased)
		case sum > s.limit():
			return fmt.Errorf("account %s: %d leased of a capacity of %d", name, sum, s.capacity)
		}
	}
	for id, l := range b.leases {
		for _, name := range l.Accounts {
			if s := b.sides[name]; s == nil || s.leases[id] != l {
				return fmt.Errorf("lease %d: account %s does not know it", id, name)
			}
		}
	}
	return nil
}

func (b *Book) side(name string) *side {
	s := b.sides[name]
	if s == nil {
		s = &side{leases: map[uint64]*Lease{}}
		b.sides[name] = s
	}
	return s
}

// change moves a lease to a rate that is known to fit.
func (b *Book) change(l *Lease, rate core.Rate) {
	for _, name := range l.Accounts {
		b.sides[name].leased += rate - l.Rate
	}
	l.Rate = rate
}

func (b *Book) admissible(now time.Duration, l Lease) error {
	switch {
	case l.Rate <= 0:
		return fmt.Errorf("its rate must be above 0, not %d", l.Rate)
	case len(l.Accounts) == 0:
		return errors.New("it names no account")
	case l.Expires <= now:
		return fmt.Errorf("it would have expired %s ago", now-l.Expires)
	}
	if _, ok := b.leases[l.ID]; ok {
		return errors.New("that ID is in use")
	}
	for i, name := range l.Accounts {
		if slices.Contains(l.Accounts[:i], name) {
			return fmt.Errorf("it names account %s twice", name)
		}
	}
	return nil
}

func (b *Book) room(accounts []string, rate core.Rate) error {
	for _, name := range accounts {
		if s := b.sides[name]; s != nil {
			if err := s.fits(name, rate, rate); err != nil {
				return err
			}
		}
	}
	return nil
}

// fits tells a rate that can never stand on this account from one that only has to wait; more is what it adds to the
// leases.
func (s *side) fits(name string, rate, more core.Rate) error {
	switch {
	case rate > s.limit():
		return fmt.Errorf("%s is above the capacity of account %s, %s", rate, name, s.capacity)
	case more > s.free():
		return fmt.Errorf("account %s has %s free of %s, not %s: %w", name, s.free(), s.capacity, more, ErrBusy)
	}
	return nil
}

func (l *Lease) copy() Lease {
	c := *l
	c.Accounts = slices.Clone(l.Accounts)
	return c
}
