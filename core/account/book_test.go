// SPDX-License-Identifier: Apache-2.0

package account

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

func lease(id uint64, rate core.Rate, accounts ...string) Lease {
	return Lease{ID: id, Flow: id, Accounts: accounts, Rate: rate, Expires: time.Minute}
}

func TestReserve(t *testing.T) {
	fresh := func() *Book {
		b := New()
		b.SetCapacity("up", 100)
		b.SetCapacity("out:n1", 60)
		if err := b.Reserve(0, lease(1, 50, "up", "out:n1")); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name  string
		lease Lease
		busy  bool
		ok    bool
	}{
		{"what is free", lease(2, 10, "up", "out:n1"), false, true},
		{"more than is free on one of two", lease(2, 11, "up", "out:n1"), true, false},
		{"all of an account that is in use", lease(2, 100, "up"), true, false},
		{"above a capacity", lease(2, 101, "up"), false, false},
		{"nothing", lease(2, 0, "up"), false, false},
		{"less than nothing", lease(2, -1, "up"), false, false},
		{"the most a number can hold", lease(2, Unlimited, "in:n1"), false, true},
		{"an ID in use", lease(1, 1, "up"), false, false},
		{"an account twice", lease(2, 1, "up", "up"), false, false},
		{"no account", lease(2, 1), false, false},
		{"an account nobody limited", lease(2, 1000, "in:n1"), false, true},
		{"already over", Lease{ID: 2, Accounts: []string{"up"}, Rate: 1, Expires: -time.Second}, false, false},
	} {
		b := fresh()
		before := fmt.Sprint(b.Accounts(), b.Leases())
		err := b.Reserve(0, c.lease)
		if (err == nil) != c.ok || errors.Is(err, ErrBusy) != c.busy {
			t.Errorf("reserve %s: %v", c.name, err)
		}
		if after := fmt.Sprint(b.Accounts(), b.Leases()); err != nil && after != before {
			t.Errorf("reserve %s: refused, and changed %s to %s", c.name, before, after)
		}
		if err := b.Check(); err != nil {
			t.Errorf("reserve %s: %v", c.name, err)
		}
	}
}

func TestUnlimitedAccountsDoNotOverflow(t *testing.T) {
	b := New()
	if err := b.Reserve(0, lease(1, Unlimited-1, "up")); err != nil {
		t.Fatal(err)
	}
	if err := b.Reserve(0, lease(2, 2, "up")); !errors.Is(err, ErrBusy) {
		t.Fatalf("sum beyond the largest number: %v", err)
	}
}

func TestShrinkingScalesLeases(t *testing.T) {
	b := New()
	b.SetCapacity("up", 100)
	b.SetCapacity("out:n1", 80)
	for id, rate := range []core.Rate{0: 20, 1: 60, 2: 20} {
		accounts := []string{"up"}
		if id == 1 {
			accounts = append(accounts, "out:n1")
		}
		if err := b.Reserve(0, lease(uint64(id), rate, accounts...)); err != nil {
			t.Fatal(err)
		}
	}
	scaled := b.SetCapacity("up", 50)
	if len(scaled) != 3 || scaled[0].Rate != 10 || scaled[1].Rate != 30 || scaled[2].Rate != 10 {
		t.Errorf("scaled to %v", scaled)
	}
	if free := b.Free("out:n1"); free != 50 {
		t.Errorf("the link has %d free, want 50: scaling gives back on the other accounts too", free)
	}
	if err := b.Reserve(0, lease(9, 1, "up")); !errors.Is(err, ErrBusy) {
		t.Errorf("a lease was added to a full account: %v", err)
	}
	if scaled := b.SetCapacity("up", 70); scaled != nil || b.Leases()[1].Rate != 30 {
		t.Errorf("growing changed leases: %v", scaled)
	}
	if scaled := b.SetCapacity("up", -5); len(scaled) != 3 || b.Check() != nil {
		t.Errorf("a negative capacity: %v, %v", scaled, b.Check())
	}
	if err := b.Adjust(1, 1); err != nil || b.Free("out:n1") != 79 {
		t.Errorf("adjust a lease scaled to nothing: %v, %d free", err, b.Free("out:n1"))
	}
}

func TestALeaseIsGivenBackOnce(t *testing.T) {
	b := New()
	b.SetCapacity("up", 100)
	for id := range uint64(3) {
		l := lease(id, 10, "up", "out:n1")
		l.Expires = time.Duration(id+1) * time.Second
		if err := b.Reserve(0, l); err != nil {
			t.Fatal(err)
		}
	}
	if !b.GiveBack(1) || b.GiveBack(1) || b.GiveBack(77) {
		t.Error("given back other than once")
	}
	if at, ok := b.NextExpiry(); !ok || at != time.Second {
		t.Errorf("next expiry %v", at)
	}
	if err := b.Renew(0, 5*time.Second); err != nil {
		t.Error(err)
	}
	if gone := b.Expire(4 * time.Second); len(gone) != 1 || gone[0].ID != 2 || b.GiveBack(2) {
		t.Errorf("expired %v", gone)
	}
	if errors.Is(b.Renew(2, time.Hour), ErrUnknown) == false || !errors.Is(b.Adjust(2, 1), ErrUnknown) {
		t.Error("an expired lease was revived")
	}
	if b.Forget("up") || len(b.Expire(5*time.Second)) != 1 || !b.Forget("up") || len(b.Accounts()) != 0 {
		t.Errorf("left over: %v", b.Accounts())
	}
}

// TestNoAccountIsEverOverdrawn lets anything happen in any order. After each step the book must agree with itself
// (Check) and with a slow twin that keeps plain lists; in the end every lease is back.
func TestNoAccountIsEverOverdrawn(t *testing.T) {
	names := []string{"up", "down", "out:n1", "out:n2", "in:n1", "trunk:A>B"}
	rapid.Check(t, func(t *rapid.T) {
		b := New()
		now := time.Duration(0)
		stands := map[uint64]Lease{} // the twin
		capacity := map[string]core.Rate{}
		returned := map[uint64]int{}
		next := uint64(0)
		anyLease := func(t *rapid.T) uint64 { return rapid.Uint64Range(0, next).Draw(t, "lease") }
		fits := func(accounts []string, rate core.Rate, without uint64) bool {
			for _, a := range accounts {
				sum := rate
				for id, l := range stands {
					if id != without && slices.Contains(l.Accounts, a) {
						sum += l.Rate
					}
				}
				if capacity[a] > 0 && sum > capacity[a] {
					return false
				}
			}
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"capacity": func(t *rapid.T) {
				name, r := rapid.SampledFrom(names).Draw(t, "account"),
					core.Rate(rapid.IntRange(0, 1000).Draw(t, "capacity"))
				capacity[name] = r
				for _, l := range b.SetCapacity(name, r) {
					if old := stands[l.ID]; l.Rate > old.Rate || !slices.Contains(l.Accounts, name) {
						t.Fatalf("scaled %v to %v", old, l)
					}
					stands[l.ID] = l
				}
			},
			"reserve": func(t *rapid.T) {
				next++
				l := Lease{ID: next, Flow: next, Rate: core.Rate(rapid.IntRange(1, 500).Draw(t, "rate")),
					Accounts: rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 4, rapid.ID[string]).Draw(t,
						"accounts"),
					Expires: now + time.Duration(rapid.IntRange(1, 50).Draw(t, "term"))}
				can := fits(l.Accounts, l.Rate, 0)
				if free := b.Free(l.Accounts...); can != (free >= l.Rate) {
					t.Fatalf("free %d, the twin says it fits: %v", free, can)
				}
				if err := b.Reserve(now, l); (err == nil) != can {
					t.Fatalf("reserve %v: %v, the twin says %v", l, err, can)
				}
				if can {
					stands[l.ID] = l
				}
			},
			"adjust": func(t *rapid.T) {
				id, rate := anyLease(t), core.Rate(rapid.IntRange(1, 500).Draw(t, "rate"))
				l, ok := stands[id]
				can := ok && (rate <= l.Rate || fits(l.Accounts, rate, id))
				if err := b.Adjust(id, rate); (err == nil) != can {
					t.Fatalf("adjust %v to %d: %v", l, rate, err)
				}
				if can {
					l.Rate = rate
					stands[id] = l
				}
			},
			"renew": func(t *rapid.T) {
				id := anyLease(t)
				l, ok := stands[id]
				l.Expires = now + time.Duration(rapid.IntRange(0, 50).Draw(t, "term"))
				if err := b.Renew(id, l.Expires); (err == nil) != ok {
					t.Fatal(err)
				}
				if ok {
					stands[id] = l
				}
			},
			"give back": func(t *rapid.T) {
				id := anyLease(t)
				_, ok := stands[id]
				if b.GiveBack(id) != ok {
					t.Fatalf("gave back lease %d, which stood: %v", id, ok)
				}
				if ok {
					returned[id]++
				}
				delete(stands, id)
			},
			"time passes": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 20).Draw(t, "passes"))
				for _, l := range b.Expire(now) {
					if twin, ok := stands[l.ID]; !ok || twin.Expires > now {
						t.Fatalf("%v expired at %v", l, now)
					}
					returned[l.ID]++
					delete(stands, l.ID)
				}
				for id, l := range stands {
					if l.Expires <= now {
						t.Fatalf("lease %d outlived its time", id)
					}
				}
			},
			"": func(t *rapid.T) {
				if err := b.Check(); err != nil {
					t.Fatal(err)
				}
				if len(b.Leases()) != len(stands) {
					t.Fatalf("%d leases stand, want %d", len(b.Leases()), len(stands))
				}
				for _, l := range b.Leases() {
					if twin := stands[l.ID]; twin.Rate != l.Rate || twin.Expires != l.Expires {
						t.Fatalf("lease %v, want %v", l, twin)
					}
				}
			},
		})
		for _, l := range b.Expire(now + time.Hour) {
			returned[l.ID]++
			delete(stands, l.ID)
		}
		for id, times := range returned {
			if times != 1 {
				t.Fatalf("lease %d was given back %d times", id, times)
			}
		}
		for _, a := range b.Accounts() {
			if a.Leased != 0 {
				t.Fatalf("at rest, %s has %d leased", a.Name, a.Leased)
			}
		}
		if len(stands) > 0 || b.Check() != nil {
			t.Fatalf("at rest: %v, %v", stands, b.Check())
		}
	})
}
